package qupath.lib.gui.viewer

import javafx.scene.Node

class QuPathViewer {
    Object data
    Node view = new Node()
    Object selected
    List centred = []

    Object getImageData() { data }
    Object getHierarchy() { data?.getHierarchy() }
    Node getView() { view }
    void setSelectedObject(Object item) { selected = item }
    void centerROI(Object roi) { centred << roi }
}
