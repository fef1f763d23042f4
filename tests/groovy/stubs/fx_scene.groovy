package javafx.scene

class Node {
    Map attached = [:]
    List filters = []

    Map getProperties() { attached }
    void addEventFilter(Object type, Object handler) { filters << handler }
    void removeEventFilter(Object type, Object handler) { filters.remove(handler) }
}

class Scene extends Node {
    Scene(Object root) {}
}
