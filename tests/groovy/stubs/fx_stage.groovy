package javafx.stage

import javafx.event.EventHandler
import javafx.scene.Scene

class Stage {
    static List all = []
    boolean showing
    Scene content
    EventHandler hidden

    Stage() { all << this }
    void initOwner(Object owner) {}
    void setTitle(String title) {}
    void setScene(Scene scene) { content = scene }
    void setOnHidden(EventHandler handler) { hidden = handler }
    void show() { showing = true }
    void hide() {
        if (showing) {
            showing = false
            hidden?.handle(null)
        }
    }
}

class DirectoryChooser {
    static File answer

    void setTitle(String title) {}
    File showDialog(Object owner) { answer }
}
