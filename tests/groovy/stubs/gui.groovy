package qupath.lib.gui

import javafx.stage.Stage
import qupath.lib.gui.viewer.QuPathViewer

class QuPathGUI {
    static QuPathGUI only
    List shown = []
    List classes = []

    static QuPathGUI getInstance() { only }
    List getAllViewers() { shown }  // since 0.5
    List getViewers() { shown }  // until 0.4
    QuPathViewer getViewer() { shown ? shown[0] : null }
    List getAvailablePathClasses() { classes }
    Stage getStage() { new Stage() }
}
