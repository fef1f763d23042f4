package qupath.lib.objects.classes

class PathClass implements Comparable<PathClass> {
    static Map known = [:]
    String label
    Integer shade

    static PathClass fromString(String label) { named(label, -16777216) }
    static PathClass named(String label, Integer color) {
        if (label == null)
            return null
        if (!known.containsKey(label))
            known[label] = new PathClass(label: label, shade: color)
        return known[label]
    }
    String getName() { label }
    Integer getColor() { shade }
    String toString() { label ?: 'Unclassified' }
    int compareTo(PathClass other) { toString() <=> other.toString() }
}
