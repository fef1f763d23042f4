package javafx.scene.input

enum KeyCode { PAGE_DOWN, PAGE_UP, ENTER, BACK_SPACE, SPACE, U, DIGIT1, DIGIT2, DIGIT3, NUMPAD1, NUMPAD2 }

class KeyEvent {
    static Object KEY_PRESSED = 'key pressed'
    KeyCode code
    boolean consumed

    KeyCode getCode() { code }
    void consume() { consumed = true }
}
