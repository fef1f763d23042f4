/*
 * What:    Writes the annotations of every image of the open project as GeoJSON, with a project.json that says what
 *          they belong to. `qpkit export SLIDE --annotations FILE.geojson` reads them where a .qpdata cannot be read.
 * Inputs:  The open project. Images that are open are written as they are on the screen, all others as saved.
 * Outputs: A folder with one FeatureCollection per image (slide px, UTF-8) and project.json: QuPath version, class
 *          list with colours, and per image its id, name, metadata, URIs, width, height and um per px. An image that
 *          cannot be read is named there and skipped.
 * QuPath:  0.4, 0.5, 0.6, 0.7
 * Run:     Automate > Script editor, then Run (not "Run for project": it does all images by itself). Without a window:
 *          QuPath script export_annotations.groovy --args project.qpproj --args FOLDER
 */

import groovy.transform.Field
import java.awt.image.BufferedImage
import java.nio.file.Files
import java.nio.file.StandardCopyOption
import qupath.lib.common.GeneralTools
import qupath.lib.gui.QuPathGUI
import qupath.lib.io.GsonTools
import qupath.lib.io.PathIO
import qupath.lib.io.PathIO.GeoJsonExportOptions
import qupath.lib.projects.ProjectIO
import qupath.lib.scripting.QP

@Field String FOLDER = ''                  // where to write; empty: "qpkit-annotations" beside the project file
@Field boolean WITH_DETECTIONS = false     // write detections and cells too

@Field String INFO_NAME = 'project.json'

def given = givenArguments()
def project = given ? ProjectIO.loadProject(new File(given[0]), BufferedImage.class) : QP.getProject()
if (project == null) {
    println 'Export: no project is open'
    return
}
def folder = folderFor(project, given.size() > 1 ? given[1] : FOLDER)
if (!isOurs(folder)) {
    println "Export: ${folder} holds something else; choose another FOLDER"
    return
}
clear(folder)

def open = openImages(project)
def images = []
def taken = [] as Set
for (entry in project.getImageList()) {
    def stem = freeName(entry.getImageName(), taken)
    def image = describe(entry)
    try {
        def live = open.get(entry.getID())
        def hierarchy = live == null ? entry.readHierarchy() : live.getHierarchy()
        def objects = [] + hierarchy.getAnnotationObjects()
        if (WITH_DETECTIONS)
            objects += hierarchy.getDetectionObjects()
        write(folder, stem + '.geojson', objects)
        image.putAll([file: stem + '.geojson', objects: objects.size()])
        println "Export: ${image.name}: ${objects.size()} objects in ${image.file}"
    } catch (Exception | StackOverflowError failure) {     // QuPath overflows its stack over a MultiLineString
        image.put('skipped', String.valueOf(failure.getMessage() ?: failure))
        println "Export: ${image.name}: skipped (${image.skipped})"
    }
    images << image
}
def classes = project.getPathClasses().findAll { it != null && it.getName() != null }
def record = [
    qupath : String.valueOf(GeneralTools.getVersion()),
    project: project.getName(),
    classes: classes.collect { [name: it.toString(), color: rgbOf(it.getColor())] },
    images : images
]
new File(folder, INFO_NAME).setText(GsonTools.getInstance(true).toJson(record), 'UTF-8')
def skipped = images.count { it.skipped }
println "Export: ${images.size() - skipped} of ${images.size()} images, " +
    "${images.sum(0) { it.objects ?: 0 }} objects in ${folder}" + (skipped ? "; ${skipped} skipped" : '')

File folderFor(project, String wanted) {
    if (wanted)
        return new File(wanted)
    def place = project.getPath().toFile()
    return new File(place.isDirectory() ? place : place.getParentFile(), 'qpkit-annotations')
}

/** Whether the folder may be written: new, empty, or made by this script. */
boolean isOurs(File folder) {
    if (!folder.exists())
        return folder.mkdirs()
    return folder.isDirectory() && (folder.list().length == 0 || new File(folder, INFO_NAME).isFile())
}

/** Remove the files of an earlier export, and only those. */
void clear(File folder) {
    def info = new File(folder, INFO_NAME)
    if (!info.isFile())
        return
    def before = GsonTools.getInstance().fromJson(info.getText('UTF-8'), Map)
    before.images.each { if (it.file) new File(folder, new File(it.file).getName()).delete() }
    info.delete()
}

/** A name that every system takes and that no other image has; upper and lower case are alike. */
String freeName(String name, Set taken) {
    def plain = String.valueOf(name).replaceAll(/[^A-Za-z0-9_.-]+/, '_').replaceAll(/^[._]+|[._]+$/, '') ?: 'slide'
    def free = plain
    for (int number = 2; !taken.add(free.toLowerCase(Locale.ROOT)); number++)
        free = plain + '_' + number
    return free
}

/** Write beside, then rename: no file is ever seen half-written. */
void write(File folder, String name, List objects) {
    def beside = new File(folder, 'unfinished-' + name)
    try {
        PathIO.exportObjectsAsGeoJSON(beside.toPath(), objects, GeoJsonExportOptions.FEATURE_COLLECTION)
        Files.move(beside.toPath(), new File(folder, name).toPath(), StandardCopyOption.REPLACE_EXISTING)
    } finally {
        beside.delete()
    }
}

Map describe(entry) {
    // 0.6 renamed getMetadataMap to getMetadata
    def metadata = entry.respondsTo('getMetadata') ? entry.getMetadata() : entry.getMetadataMap()
    def image = [id: entry.getID(), name: entry.getImageName(), metadata: new LinkedHashMap(metadata)]
    try {
        image.put('uris', entry.getURIs().collect { it.toString() })
        def server = imageMetadata(entry)
        image.putAll([width: server.getWidth(), height: server.getHeight()])
        def size = server.getPixelCalibration()
        if (size.hasPixelSizeMicrons())
            image.putAll([mpp_x: size.getPixelWidthMicrons(), mpp_y: size.getPixelHeightMicrons()])
    } catch (Exception failure) {
        image.put('image_problem', String.valueOf(failure.getMessage() ?: failure))
    }
    return image
}

List rgbOf(Integer packed) {
    return packed == null ? null : [(packed >> 16) & 255, (packed >> 8) & 255, packed & 255]
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
