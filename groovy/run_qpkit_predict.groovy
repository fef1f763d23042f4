/*
 * What:    Runs `qpkit predict` on the open image, shows its output in the log, and puts the objects into the image.
 * Inputs:  The open image of a project, RUN (what qpkit train made) and an installed qpkit with qpkit[train].
 * Outputs: WORK/ID/predictions and WORK/ID/geojson, replaced every time, and the objects in the open image; save it if
 *          you want to keep them. Replaces only what an earlier import put there and nobody has touched since.
 * QuPath:  0.4, 0.5, 0.6, 0.7
 * Run:     Set RUN, open an image, Automate > Script editor, Run. Cancel in the small window, or kill the script.
 */

import groovy.transform.Field
import java.util.concurrent.Callable
import java.util.concurrent.FutureTask
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicBoolean
import java.util.zip.GZIPInputStream
import javafx.application.Platform
import javafx.event.EventHandler
import javafx.scene.Scene
import javafx.scene.control.Button
import javafx.scene.control.Label
import javafx.scene.layout.VBox
import javafx.stage.Stage
import qupath.lib.gui.QuPathGUI
import qupath.lib.io.GsonTools
import qupath.lib.io.PathIO
import qupath.lib.objects.PathObject
import qupath.lib.scripting.QP

@Field String QPKIT = 'qpkit'          // a name on the PATH, or where it is: ".venv/bin/qpkit", "qpkit.exe"
@Field String RUN = ''                 // the folder that qpkit train made
@Field String WORK = ''                // where predictions go; empty: "qpkit" beside the project file
@Field List PREDICT = ['--probabilities']              // more options of qpkit predict
@Field List IMPORT = ['--min-area-um2', '100']         // more options of qpkit import-predictions; [] without um per px

@Field String END = 'end of the output'

def project = QP.getProject()
def entry = QP.getProjectEntry()
def data = QP.getCurrentImageData()
def qpkit = executable(QPKIT)
def problem = Platform.isFxApplicationThread() ? 'start it from the script editor; it would block the screen here'
    : entry == null || data == null ? 'no image of a project is open'
    : !RUN || !new File(RUN).isDirectory() ? "RUN is no folder: '${RUN}'"
    : qpkit == null ? "no '${QPKIT}' on the PATH (programs started from a desktop may have a shorter one): set QPKIT"
    : null
if (problem) {
    println "Predict: ${problem}"
    return
}
def projectFile = project.getPath().toFile()
def beside = projectFile.isDirectory() ? projectFile : projectFile.getParentFile()
def work = new File(WORK ? new File(WORK) : new File(beside, 'qpkit'), entry.getID())
def predictions = new File(work, 'predictions').getPath()
def geojson = new File(work, 'geojson')

// qpkit gets a copy of the objects as GeoJSON and never writes the .qpdata here: QuPath holds the image in memory, does
// not notice that its file has changed, and would overwrite the predictions with the next save.
entry.saveImageData(data)
def cancelled = new AtomicBoolean()
def window = openWindow(entry.getImageName(), cancelled)
try {
    work.mkdirs()
    def options = ['--entry', entry.getID(), '-o', predictions, '--overwrite']
    execute([qpkit, 'predict', RUN, projectFile.getPath()] + options + PREDICT, cancelled)
    def target = ['--geojson-only', geojson.getPath(), '--overwrite']
    execute([qpkit, 'import-predictions', predictions, projectFile.getPath()] + target + IMPORT, cancelled)
    for (row in filesOf(geojson)) {
        def live = openImages(project).get(entryOf(project, row).getID())
        if (live == null)
            throw new IllegalStateException("the image was closed; import_predictions.groovy reads ${geojson}")
        println "Predict: ${row.slide}: ${describe(importOpen(live, readPredictions(new File(geojson, row.file))))}"
    }
} catch (InterruptedException stopped) {
    println 'Predict: stopped'
    Thread.currentThread().interrupt()
} catch (Exception failure) {
    println "Predict: ${failure.getMessage() ?: failure}"
} finally {
    closeWindow(window)
}

/** Run a command and print its output as it comes; anything but success is one line. */
void execute(List command, AtomicBoolean cancelled) {
    println 'Predict: ' + command.join(' ')
    def builder = new ProcessBuilder(command.collect { it.toString() }).redirectErrorStream(true)
    builder.environment().putAll([PYTHONUNBUFFERED: '1', PYTHONUTF8: '1', NO_COLOR: '1', TERM: 'dumb'])
    def process = builder.start()
    def lines = new LinkedBlockingQueue()
    Thread.start {
        try {
            process.getInputStream().eachLine('UTF-8') { lines.put(it) }
        } catch (IOException ignored) {
            // the process was stopped
        } finally {
            lines.put(END)
        }
    }
    def last = ''
    try {
        for (def line = ''; !line.is(END); line = lines.poll(200, TimeUnit.MILLISECONDS) ?: '') {
            if (cancelled.get())
                throw new IllegalStateException('cancelled')
            if (line.trim()) {
                println line
                last = line.trim()
            }
        }
        int code = process.waitFor()
        if (code != 0)
            throw new IllegalStateException("qpkit ${command[1]} ended with ${code}: ${last}")
    } finally {
        process.descendants().each { it.destroy() }     // on Windows qpkit.exe starts python.exe
        process.destroy()
    }
}

/** Where a program is: as stated, or on the PATH; null if nowhere. */
String executable(String name) {
    if (name.contains('/') || name.contains('\\'))
        return new File(name).isFile() ? name : null
    def endings = System.getProperty('os.name').startsWith('Windows') ? ['.exe', '.bat', '.cmd', ''] : ['']
    def folders = (System.getenv('PATH') ?: '').tokenize(File.pathSeparator)
    def places = folders.collectMany { folder -> endings.collect { new File(folder, name + it) } }
    return places.find { it.isFile() && it.canExecute() }?.getPath()
}

def openWindow(String image, AtomicBoolean cancelled) {
    if (QuPathGUI.getInstance() == null)
        return null
    return onFxThread {
        def cancel = new Button('Cancel')
        cancel.setOnAction({ event -> cancelled.set(true) } as EventHandler)
        def stage = new Stage()
        stage.initOwner(QuPathGUI.getInstance().getStage())
        stage.setTitle('qpkit predict')
        stage.setScene(new Scene(new VBox(10.0d, new Label(image), cancel)))
        stage.show()
        return stage
    }
}

void closeWindow(window) {
    if (window != null)
        Platform.runLater { window.hide() }
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
