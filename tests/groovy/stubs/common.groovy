package qupath.lib.common

class GeneralTools {
    static String getVersion() { '0.0.0' }
}
