package qupath.lib.objects.hierarchy

import qupath.lib.objects.PathObject

class PathObjectHierarchy {
    PathObject root = new PathObject()
    List content = []
    List events = []

    Collection getAllObjects(boolean includeRoot) { new ArrayList(content) }
    Collection getAnnotationObjects() { content.findAll { it.isAnnotation() } }
    Collection getDetectionObjects() { content.findAll { !it.isAnnotation() } }
    boolean addObjects(Collection objects) {
        objects.each { it.above = root }
        return content.addAll(objects)
    }
    void removeObjects(Collection objects, boolean keepChildren) {
        if (!keepChildren)
            throw new IllegalArgumentException('children would be lost')
        content.removeAll { there -> objects.any { it.is(there) } }
        objects.each { it.above = null }
    }
    void fireObjectsChangedEvent(Object source, Collection objects) { events << 'changed' }
    void fireObjectClassificationsChangedEvent(Object source, Collection objects) { events << 'classified' }
}
