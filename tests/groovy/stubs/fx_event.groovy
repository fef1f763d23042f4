package javafx.event

interface EventHandler {
    void handle(Object event)
}
