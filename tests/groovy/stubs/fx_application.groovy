package javafx.application

class Platform {
    static boolean inside = false

    static boolean isFxApplicationThread() { inside }
    static void runLater(Runnable work) {
        inside = true
        try {
            work.run()
        } finally {
            inside = false
        }
    }
}
