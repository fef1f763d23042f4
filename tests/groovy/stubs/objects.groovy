// What the scripts need of QuPath's classes, in memory. A line with "since 0.5" or "since 0.6" is left out for older
// versions, one with "until 0.4" for newer ones.
package qupath.lib.objects

import qupath.lib.objects.classes.PathClass

class PathObject {
    UUID key = UUID.randomUUID()
    PathClass given
    Object shape
    boolean fixed
    boolean annotation = true
    PathObject above
    Map numbers = [:]
    protected Map stored = [:]

    UUID getID() { key }
    PathClass getPathClass() { given }
    void setPathClass(PathClass to) { given = to }
    boolean isLocked() { fixed }
    void setLocked(boolean to) { fixed = to }
    boolean isAnnotation() { annotation }
    Object getROI() { shape }
    PathObject getParent() { above }
    Map getMeasurements() { numbers }
    Map getMetadata() { stored }  // since 0.5
    protected Map getUnmodifiableMetadataMap() { Collections.unmodifiableMap(stored) }
    protected Object storeMetadataValue(String name, String value) { stored.put(name, value) }
}
