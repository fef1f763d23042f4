package qupath.lib.scripting

class QP {
    static Object project
    static Object data

    static Object getProject() { project }
    static Object getCurrentImageData() { data }
    static Object getProjectEntry() { data == null ? null : project?.getEntry(data) }
}
