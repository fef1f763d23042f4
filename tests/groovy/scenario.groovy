/*
 * Runs a script against the stubs.
 * Inputs: the script, a JSON file with project, entries and settings, and where to write what became of them.
 */

import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import javafx.scene.control.Button
import javafx.scene.control.Label
import javafx.scene.input.KeyCode
import javafx.scene.input.KeyEvent
import javafx.stage.Stage
import qupath.lib.gui.QuPathGUI
import qupath.lib.gui.viewer.QuPathViewer
import qupath.lib.io.PathIO
import qupath.lib.objects.classes.PathClass
import qupath.lib.objects.hierarchy.PathObjectHierarchy
import qupath.lib.projects.Project
import qupath.lib.projects.ProjectIO
import qupath.lib.projects.ProjectImageEntry
import qupath.lib.scripting.QP

def spec = new JsonSlurper().parse(new File(args[1]), 'UTF-8')

PathObjectHierarchy hierarchyOf(List features) {
    def made = new PathObjectHierarchy()
    made.addObjects(features.collect { PathIO.objectOf(it, true) })
    return made
}

def project = new Project(file: new File(spec.project))
project.classes = spec.classes.collect { PathClass.named(it.name, it.color) }
spec.entries.each { one ->
    project.entries << new ProjectImageEntry(
        key: one.id, title: one.name, place: new URI(one.uri), facts: one.metadata ?: [:], size: one.size,
        fault: one.fault, saved: hierarchyOf(one.objects ?: [])
    )
}
ProjectIO.only = project
if (spec.window) {
    QuPathGUI.only = new QuPathGUI(classes: new ArrayList(project.classes))
    spec.open.each { id ->
        QuPathGUI.only.shown << new QuPathViewer(data: project.entries.find { it.key == id }.readImageData())
    }
    QuPathGUI.only.shown.each { it.data.hierarchy = hierarchyOf(spec.entries.find { e -> e.id == it.data.owner }.live) }
    QP.project = project
    QP.data = QuPathGUI.only.getViewer()?.data
    Button.pressed = spec.cancel ?: false
}

def source = new File(args[0]).getText('UTF-8')
spec.settings.each { name, value ->
    def line = ~/(?m)^(@Field \w+ ${name} = ).*$/
    assert (source =~ line).find()
    source = source.replaceFirst(line, '$1' + java.util.regex.Matcher.quoteReplacement(value))
}
def log = new StringWriter()
def binding = new Binding(out: new PrintWriter(log, true))
if (spec.args != null)
    binding.setVariable('args', spec.args as String[])
new GroovyShell(getClass().getClassLoader(), binding).evaluate(source, 'Script1.groovy')
def keys = spec.keys.collect { key ->
    if (key == 'RUN') {
        new GroovyShell(getClass().getClassLoader(), binding).evaluate(source, 'Script2.groovy')
        return [key, null, null]
    }
    def viewer = QuPathGUI.only.getViewer()
    def event = new KeyEvent(code: KeyCode.valueOf(key))
    new ArrayList(viewer.view.filters).each { it.handle(event) }
    return [key, event.consumed, viewer.selected?.getID()?.toString()]
}

def features = { hierarchy -> hierarchy.content.findAll { it.shape != null }.collect { PathIO.featureOf(it) } }
def shown = QuPathGUI.only?.shown ?: []
new File(args[2]).setText(JsonOutput.toJson([
    log: log.toString().readLines(),
    saved: project.entries.collectEntries { [(it.key): features(it.saved)] },
    saves: project.entries.collectEntries { [(it.key): it.saves] },
    live: shown.collectEntries { [(it.data.owner): features(it.data.hierarchy)] },
    events: shown.collectMany { it.data.hierarchy.events },
    classes: (QuPathGUI.only?.classes ?: []).collect { it.toString() },
    keys: keys, status: Label.all.collect { it.shown }, windows: Stage.all.count { it.showing },
    filters: shown.collect { it.view.filters.size() }
]), 'UTF-8')
