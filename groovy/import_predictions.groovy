/*
 * What:    Puts the objects of `qpkit import-predictions DIR PROJECT --geojson-only FOLDER` into the open project while
 *          QuPath stays open. Replaces only what an earlier import of qpkit put there and nobody has touched since.
 *          Human objects, and predictions that were reclassified, redrawn or locked, stay as they are.
 * Inputs:  FOLDER with import.json and one GeoJSON file per slide. A file belongs to the entry of the same name; if
 *          there is none, to the entry whose image file has that name; of several, to the one with the same id. The
 *          image has to be as large as the predicted one.
 * Outputs: Objects in the project. Images that are open are changed on the screen and saved by you; all others are
 *          saved at once. One line per slide, also for those that were skipped and why.
 * QuPath:  0.4, 0.5, 0.6, 0.7
 * Run:     Automate > Script editor, then Run (not "Run for project"). Without a window:
 *          QuPath script import_predictions.groovy --args FOLDER --args project.qpproj
 */

import groovy.transform.Field
import java.awt.image.BufferedImage
import java.util.concurrent.Callable
import java.util.concurrent.FutureTask
import java.util.zip.GZIPInputStream
import javafx.application.Platform
import javafx.stage.DirectoryChooser
import qupath.lib.gui.QuPathGUI
import qupath.lib.io.GsonTools
import qupath.lib.io.PathIO
import qupath.lib.objects.PathObject
import qupath.lib.projects.ProjectIO
import qupath.lib.scripting.QP

@Field String FOLDER = ''      // what --geojson-only wrote; empty: QuPath asks for it

def given = givenArguments()
def project = given.size() > 1 ? ProjectIO.loadProject(new File(given[1]), BufferedImage.class) : QP.getProject()
if (project == null) {
    println 'Import: no project is open'
    return
}
def folder = given ? new File(given[0]) : FOLDER ? new File(FOLDER) : chooseFolder()
if (folder == null)
    return
if (!new File(folder, INFO_NAME).isFile()) {
    println "Import: ${folder} has no ${INFO_NAME}; make it with qpkit import-predictions --geojson-only"
    return
}

def open = openImages(project)
def total = [added: 0, removed: 0, unchanged: 0, kept: 0]
def skipped = 0
for (row in filesOf(folder)) {
    try {
        def entry = entryOf(project, row)
        def fresh = readPredictions(new File(folder, row.file))
        def live = open.get(entry.getID())
        def counts = live == null ? importSaved(entry, fresh) : importOpen(live, fresh)
        total.keySet().each { total.put(it, total.get(it) + counts.get(it)) }
        println "Import: ${entry.getImageName()}: ${describe(counts)}" + (live == null ? '' : ' (open, not saved yet)')
    } catch (Exception failure) {
        skipped++
        println "Import: ${row.slide}: skipped (${failure.getMessage() ?: failure})"
    }
}
println "Import: ${describe(total)}" + (skipped ? "; ${skipped} skipped" : '')

File chooseFolder() {
    if (QuPathGUI.getInstance() == null) {
        println 'Import: state the folder: --args FOLDER'
        return null
    }
    return onFxThread {
        def chooser = new DirectoryChooser()
        chooser.setTitle('Folder that qpkit import-predictions --geojson-only made')
        return chooser.showDialog(QuPathGUI.getInstance().getStage())
    }
}

Map importSaved(entry, List fresh) {
    def data = entry.readImageData()
    try {
        def counts = replacePredictions(data.getHierarchy(), fresh)
        if (counts.added + counts.removed > 0)
            entry.saveImageData(data)
        listClasses(fresh)
        return counts
    } finally {
        data.getServer().close()
    }
}

// ==== images: the same text in every script that needs it ====

/** The images that are shown in a viewer, by entry id. */
Map openImages(project) {
    def gui = QuPathGUI.getInstance()
    if (gui == null)
        return [:]
    // 0.5 renamed getViewers to getAllViewers
    def viewers = gui.respondsTo('getAllViewers') ? gui.getAllViewers() : gui.getViewers()
    def shown = viewers.collect { it.getImageData() }.findAll { it != null && project.getEntry(it) != null }
    return shown.collectEntries { [(project.getEntry(it).getID()): it] }
}

/** Width, height and pixel size of an entry's image. */
def imageMetadata(entry) {
    def builder = entry.getServerBuilder()
    // 0.6 made getMetadata of a builder public; before that, or if it knows nothing, the image has to be opened
    if (builder.getClass().getMethods().any { it.getName() == 'getMetadata' }) {
        def known = builder.getMetadata().orElse(null)
        if (known != null)
            return known
    }
    def server = builder.build()
    try {
        return server.getMetadata()
    } finally {
        server.close()
    }
}

/** What follows --args on the command line. */
List givenArguments() {
    try {
        return (args ?: []) as List
    } catch (MissingPropertyException ignored) {
        return []
    }
}

// ==== end of images ====

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

// ==== loading: the same text in every script that needs it ====

@Field String INFO_NAME = 'import.json'

/** What import.json says of each file: file, slide, image, entry, width, height. */
List filesOf(File folder) {
    return GsonTools.getInstance().fromJson(new File(folder, INFO_NAME).getText('UTF-8'), Map).files
}

/** The entry of a predicted slide: by name, else by the image file's name, with the id if need be. */
def entryOf(project, Map row) {
    def entries = project.getImageList()
    def named = entries.findAll { it.getImageName() == row.slide }
    def same = named ?: entries.findAll { lastName(it.getURIs().find { true }) == lastName(row.image) }
    same = same.findAll { it.getID() == row.entry } ?: same
    if (same.size() != 1)
        throw new IllegalStateException("${same ? 'several entries' : 'no entry'} of this name in the project")
    def server = imageMetadata(same[0])
    if (server.getWidth() != (int) row.width || server.getHeight() != (int) row.height)
        throw new IllegalStateException("the image is ${server.getWidth()} x ${server.getHeight()} px, the predicted " +
            "one was ${(int) row.width} x ${(int) row.height}")
    return same[0]
}

String lastName(place) {
    String path = place instanceof URI ? place.getPath() : place
    return (path ?: '').tokenize('/\\').reverse().find { true }
}

/** The objects of one file, with their metadata in every version. */
List readPredictions(File file) {
    def objects = [] + PathIO.readObjects(file.toPath())
    if (objects.every { isPrediction(it) })
        return objects
    // 0.4 leaves out the metadata of a GeoJSON file: take them from the file, by id
    def stream = file.newInputStream()
    def text = (file.getName().endsWith('.gz') ? new GZIPInputStream(stream) : stream).getText('UTF-8')
    def features = GsonTools.getInstance().fromJson(text, Map).features
    def byId = features.collectEntries { [(it.get('id')): it.get('properties').get('metadata')] }
    objects.each { item -> byId.get(item.getID().toString())?.each { key, value -> putMetadata(item, key, value) } }
    if (!objects.every { isPrediction(it) })
        throw new IllegalStateException("${file.getName()} holds objects that qpkit did not write")
    return objects
}

/** Bring the predictions of one image up to date; what a person drew or edited stays. */
Map replacePredictions(hierarchy, List fresh) {
    def there = hierarchy.getAllObjects(false).findAll { isPrediction(it) }
    def untouched = there.findAll { isUntouched(it) }.collectEntries { [(it.getID()): it] }
    def edited = there.findAll { !untouched.containsKey(it.getID()) }.collect { it.getID() } as Set
    def same = fresh.findAll { isAlike(it, untouched.get(it.getID())) }.collect { it.getID() } as Set
    def old = untouched.values().findAll { !same.contains(it.getID()) }
    def added = fresh.findAll { !same.contains(it.getID()) && !edited.contains(it.getID()) }
    if (old)
        hierarchy.removeObjects(old, true)     // what somebody drew inside a prediction stays
    if (added)
        hierarchy.addObjects(added)
    return [added: added.size(), removed: old.size(), unchanged: same.size(), kept: edited.size()]
}

/** Whether an object of the same id says the same: its kind and its measurements. */
boolean isAlike(fresh, old) {
    if (old == null || fresh.isAnnotation() != old.isAnnotation())
        return false
    def then = old.getMeasurements()
    def now = fresh.getMeasurements()
    return then.keySet() == now.keySet() && now.every { name, value -> isClose(value, then.get(name)) }
}

boolean isClose(Number a, Number b) {
    double x = a.doubleValue()
    double y = b.doubleValue()
    return x == y || Math.abs(x - y) <= 1e-5 * Math.max(Math.abs(x), Math.abs(y))
}

/** Change an image that is on the screen; only JavaFX's own thread may do so. */
Map importOpen(data, List fresh) {
    def counts = onFxThread { replacePredictions(data.getHierarchy(), fresh) }
    listClasses(fresh)
    return counts
}

/** Add the objects' classes to QuPath's class list; without that they show in the viewer only. */
void listClasses(List objects) {
    def gui = QuPathGUI.getInstance()
    if (gui == null)
        return
    onFxThread {
        def list = gui.getAvailablePathClasses()
        def known = list.findAll { it != null }.collect { it.toString() }
        def missing = objects.collect { it.getPathClass() }.findAll { it != null && !known.contains(it.toString()) }
        if (missing)
            list.addAll(missing.unique { it.toString() })
    }
}

def onFxThread(Closure work) {
    if (QuPathGUI.getInstance() == null || Platform.isFxApplicationThread())
        return work.call()
    def task = new FutureTask(work as Callable)
    Platform.runLater(task)
    return task.get()
}

String describe(Map counts) {
    return "${counts.added} added, ${counts.removed} removed, ${counts.unchanged} unchanged, " +
        "${counts.kept} edited ones kept"
}

// ==== end of loading ====
