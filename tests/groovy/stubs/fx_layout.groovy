package javafx.scene.layout

import javafx.scene.Node

class VBox extends Node {
    VBox(double spacing, Node... children) {}
}
