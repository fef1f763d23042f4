/*
 * What:    Steps through the predictions of the open image that nobody has touched yet: accept, reject, reclassify
 *          or call unsure each with one key. Run the script again to stop.
 * Inputs:  The open image, with annotations that qpkit imported (detections cannot be learned from and are left out).
 *          The first nine classes of QuPath's class list have the keys 1 to 9.
 * Outputs: Changes of the open image; save it when you are done. Accepted: the object is locked. Reclassified: it gets
 *          the class and is locked. Both count as a person's work: a later import leaves them alone, and the next
 *          `qpkit export` learns from them. Unsure: the object stays as it is, and exports say nothing is known there.
 *          Rejected: the object is removed, and stays away; set REJECT_AS to a class of yours ("Ignore*" is drawn as
 *          ignore) to keep it. The first three write what was decided, by whom and in how many seconds into the object's
 *          metadata, which `qpkit review` counts.
 * QuPath:  0.4, 0.5, 0.6, 0.7
 * Run:     Open an image, Automate > Script editor, Run; then click into the image.
 */

import groovy.transform.Field
import javafx.application.Platform
import javafx.event.EventHandler
import javafx.scene.Scene
import javafx.scene.control.Label
import javafx.scene.input.KeyCode
import javafx.scene.input.KeyEvent
import javafx.scene.layout.VBox
import javafx.stage.Stage
import qupath.lib.gui.QuPathGUI
import qupath.lib.objects.PathObject
import qupath.lib.objects.classes.PathClass

@Field KeyCode NEXT = KeyCode.PAGE_DOWN
@Field KeyCode PREVIOUS = KeyCode.PAGE_UP
@Field KeyCode ACCEPT = KeyCode.ENTER
@Field KeyCode REJECT = KeyCode.BACK_SPACE
@Field KeyCode UNSURE = KeyCode.U
@Field String REVIEWER = ''                // who reviews, kept with every decision; empty: nobody is named
@Field String REJECT_AS = ''               // class of rejected objects; empty: they are removed
@Field boolean LEAST_SURE_FIRST = true     // by mean probability, where there is one; else from top to bottom

@Field String INSTALLED = 'qpkit review'

def gui = QuPathGUI.getInstance()
def viewer = gui == null ? null : gui.getViewer()
if (viewer == null || viewer.getHierarchy() == null) {
    println 'Review: no image is open'
    return
}
Platform.runLater { toggle(gui, viewer) }

void toggle(gui, viewer) {
    def before = viewer.getView().getProperties().get(INSTALLED)
    if (before != null) {
        stop(viewer, before)
        return
    }
    def hierarchy = viewer.getHierarchy()
    def queue = hierarchy.getAnnotationObjects().findAll { isPrediction(it) && isUntouched(it) }.sort { orderOf(it) }
    if (!queue) {
        println 'Review: no prediction of this image is left to review'
        return
    }
    def classes = gui.getAvailablePathClasses().findAll { it != null && it.getName() != null }.take(9)
    def review = [
        hierarchy: hierarchy, queue: queue, classes: classes, place: 0, accepted: 0, rejected: 0, reclassified: 0,
        unsure: 0, since: System.nanoTime(),
        status: new Label(), stage: new Stage()
    ]
    review.handler = { event -> if (act(viewer, review, event.getCode())) event.consume() } as EventHandler
    def keys = classes.withIndex().collect { one, number -> "${number + 1} ${one}" }.join('   ')
    def help = "${ACCEPT} accept   ${REJECT} reject   ${UNSURE} unsure   ${NEXT}, ${PREVIOUS} next, previous\n${keys}"
    def scene = new Scene(new VBox(10.0d, review.status, new Label(help)))
    scene.addEventFilter(KeyEvent.KEY_PRESSED, review.handler)
    viewer.getView().addEventFilter(KeyEvent.KEY_PRESSED, review.handler)
    viewer.getView().getProperties().put(INSTALLED, review)
    review.stage.initOwner(gui.getStage())
    review.stage.setTitle('qpkit review')
    review.stage.setScene(scene)
    review.stage.setOnHidden({ event -> stop(viewer, review) } as EventHandler)
    review.stage.show()
    show(viewer, review)
}

void stop(viewer, Map review) {
    if (viewer.getView().getProperties().remove(INSTALLED) == null)
        return
    viewer.getView().removeEventFilter(KeyEvent.KEY_PRESSED, review.handler)
    review.stage.hide()
    println "Review: stopped; ${counts(review)}. Save the image to keep the changes."
}

/** What a key does; whether it was one of ours. */
boolean act(viewer, Map review, KeyCode code) {
    if (!viewer.getHierarchy().is(review.hierarchy)) {
        review.status.setText('Another image is open: run the script again')
        return false
    }
    def digit = ['DIGIT', 'NUMPAD'].collectMany { row -> (1..9).collect { row + it } }.indexOf(code.name()) % 9
    def item = current(review)
    if (code == NEXT)
        step(review, 1)
    else if (code == PREVIOUS)
        step(review, -1)
    else if (item == null)
        return false
    else if (code == ACCEPT)
        accept(review, item)
    else if (code == REJECT)
        reject(review, item)
    else if (code == UNSURE)
        callUnsure(review, item)
    else if (digit >= 0 && digit < review.classes.size())
        reclassify(review, item, review.classes[digit])
    else
        return false
    show(viewer, review)
    return true
}

void accept(Map review, item) {
    item.setLocked(true)     // what is locked belongs to a person: see isUntouched
    decide(review, item, 'accepted')
    review.hierarchy.fireObjectsChangedEvent(this, [item])
    review.accepted++
    step(review, 1)
}

void reclassify(Map review, item, PathClass to) {
    if (to.is(item.getPathClass())) {
        accept(review, item)
        return
    }
    item.setPathClass(to)
    item.setLocked(true)
    decide(review, item, 'reclassified')
    review.hierarchy.fireObjectClassificationsChangedEvent(this, [item])
    review.reclassified++
    step(review, 1)
}

void callUnsure(Map review, item) {
    decide(review, item, 'unsure')
    review.hierarchy.fireObjectsChangedEvent(this, [item])
    review.unsure++
    step(review, 1)
}

/** Keep with an object what was decided, by whom, and in how many seconds since it came on show. */
void decide(Map review, item, String decision) {
    putMetadata(item, REVIEW_KEY, decision)
    if (REVIEWER)
        putMetadata(item, 'qpkit reviewer', REVIEWER)
    putMetadata(item, 'qpkit review seconds', (Math.round((System.nanoTime() - review.since) / 1e8d) / 10.0d).toString())
}

void reject(Map review, item) {
    if (REJECT_AS) {
        item.setPathClass(PathClass.fromString(REJECT_AS))
        item.setLocked(true)
        review.hierarchy.fireObjectClassificationsChangedEvent(this, [item])
    } else {
        review.hierarchy.removeObjects([item], true)
    }
    review.rejected++
    step(review, 1)
}

/** The object on show, or null where all are done. */
def current(Map review) {
    def item = review.queue[review.place]
    return isOpen(item) ? item : null
}

/** Whether an object still waits for a decision; the mouse may have been quicker. */
boolean isOpen(item) {
    return item.getParent() != null && isUntouched(item)
}

/** Go to the next object that waits, around the end; stay where none does. */
void step(Map review, int by) {
    int size = review.queue.size()
    for (int n = 1; n <= size; n++) {
        int place = Math.floorMod(review.place + n * by, size)
        if (isOpen(review.queue[place])) {
            review.place = place
            return
        }
    }
}

void show(viewer, Map review) {
    def item = current(review)
    review.since = System.nanoTime()
    if (item != null) {
        viewer.setSelectedObject(item)
        viewer.centerROI(item.getROI())
    }
    def now = item == null ? 'All reviewed' : item.getPathClass().toString()
    review.status.setText("${now}   ${counts(review)}".toString())
}

String counts(Map review) {
    def left = review.queue.count { isOpen(it) }
    return "${review.accepted} accepted, ${review.reclassified} reclassified, ${review.rejected} rejected, ${review.unsure} unsure, " +
        "${left} left"
}

Double orderOf(item) {
    def sure = LEAST_SURE_FIRST ? item.getMeasurements().get('Mean probability') : null
    return sure == null ? 1.0d + item.getROI().getCentroidY() : sure.doubleValue()
}

// ==== provenance: the same text in every script that needs it ====
// The rule of qpkit/core/provenance.py: a predicted object is untouched while its class and shape are what its metadata
// say, it is not locked, and no reviewer has said anything of it. Its name, colour and measurements do not count.

@Field String RUN_KEY = 'qpkit run'
@Field String CLASS_KEY = 'qpkit class'
@Field String SHAPE_KEY = 'qpkit shape'
@Field String LOCKED_KEY = 'qpkit locked'
@Field String REVIEW_KEY = 'qpkit review'
@Field List DECISIONS = ['accepted', 'unsure', 'reclassified']

/** An object's metadata, to read. */
Map metadataOf(item) {
    if (item.respondsTo('getMetadata'))
        return item.getMetadata()
    // up to 0.4 only classes of QuPath itself get at them
    def reader = PathObject.class.getDeclaredMethod('getUnmodifiableMetadataMap')
    reader.setAccessible(true)
    return reader.invoke(item)
}

void putMetadata(item, String key, String value) {
    if (item.respondsTo('getMetadata')) {
        item.getMetadata().put(key, value)
        return
    }
    def writer = PathObject.class.getDeclaredMethod('storeMetadataValue', String.class, String.class)
    writer.setAccessible(true)
    writer.invoke(item, key, value)
}

boolean isPrediction(item) {
    return metadataOf(item).containsKey(RUN_KEY)
}

boolean isUntouched(item) {
    def metadata = metadataOf(item)
    if (DECISIONS.contains((metadata.get(REVIEW_KEY) ?: '').trim().toLowerCase()))
        return false
    def className = item.getPathClass() == null ? null : item.getPathClass().toString()
    if (className != metadata.get(CLASS_KEY) || item.isLocked() != metadata.containsKey(LOCKED_KEY))
        return false
    def then = numbersOf(metadata.get(SHAPE_KEY))
    def now = measuresOf(item.getROI())
    if (then.size() != 7 || now.size() != 7)
        return false
    def moved = (1..6).any { Math.abs(then[it] - now[it]) > 0.05 }
    return !moved && Math.abs(then[0] - now[0]) <= Math.max(0.5, 0.001 * Math.max(then[0], now[0]))
}

List numbersOf(String text) {
    try {
        return (text ?: '').tokenize().collect { Double.parseDouble(it) }
    } catch (NumberFormatException ignored) {
        return []
    }
}

/** Area (px2), centroid x and y, bounds. */
List measuresOf(roi) {
    if (roi == null)
        return []
    def shape = roi.getGeometry()
    def centre = shape.getCentroid()
    def box = shape.getEnvelopeInternal()
    return [shape.getArea(), centre.getX(), centre.getY(), box.getMinX(), box.getMinY(), box.getMaxX(), box.getMaxY()]
}

// ==== end of provenance ====
