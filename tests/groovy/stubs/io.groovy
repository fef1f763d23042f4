package qupath.lib.io

import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import java.nio.file.Path
import qupath.lib.objects.PathObject
import qupath.lib.objects.classes.PathClass
import qupath.lib.roi.interfaces.ROI

class GsonTools {
    static GsonTools getInstance() { new GsonTools() }
    static GsonTools getInstance(boolean pretty) { new GsonTools() }
    String toJson(Object value) { JsonOutput.prettyPrint(JsonOutput.toJson(value)) }
    Object fromJson(String text, Class kind) { doubles(new JsonSlurper().parseText(text)) }

    /** Gson has no whole numbers. */
    static Object doubles(Object value) {
        if (value instanceof Map)
            return value.collectEntries { key, one -> [(key): doubles(one)] }
        if (value instanceof List)
            return value.collect { doubles(it) }
        return value instanceof Number ? value.doubleValue() : value
    }
}

class PathIO {
    static enum GeoJsonExportOptions { PRETTY_JSON, EXCLUDE_MEASUREMENTS, FEATURE_COLLECTION }

    static List readObjects(Path path) {
        return new JsonSlurper().parse(path.toFile(), 'UTF-8').features.collect { objectOf(it, false) }
    }

    static void exportObjectsAsGeoJSON(Path path, Collection objects, GeoJsonExportOptions... options) {
        if (objects.any { it.shape == null })
            throw new StackOverflowError()
        def record = [type: 'FeatureCollection', features: objects.collect { featureOf(it) }]
        path.toFile().setText(JsonOutput.toJson(record), 'UTF-8')
    }

    static PathObject objectOf(Map feature, boolean saved) {
        def properties = feature.get('properties')
        def name = properties.classification?.with { it.names ? it.names.join(': ') : it.name }
        def item = new PathObject(
            key: UUID.fromString(feature.id), fixed: properties.isLocked ?: false,
            annotation: properties.objectType != 'detection', given: PathClass.named(name, -1),
            shape: feature.geometry == null ? null : new ROI(rings: feature.geometry.coordinates)
        )
        def numbers = properties.measurements ?: [:]
        item.numbers = numbers instanceof List ? numbers.collectEntries { [(it.name): it.value] } : new HashMap(numbers)
        boolean keeps = saved
        keeps = true  // since 0.5
        if (keeps)
            (properties.metadata ?: [:]).each { key, value -> item.storeMetadataValue(key, value) }
        return item
    }

    static Map featureOf(PathObject item) {
        def properties = [
            objectType: item.isAnnotation() ? 'annotation' : 'detection', isLocked: item.isLocked(),
            metadata: item.getUnmodifiableMetadataMap(), measurements: item.getMeasurements()
        ]
        if (item.getPathClass() != null)
            properties.classification = [name: item.getPathClass().toString(), color: [255, 255, 255]]
        def geometry = [type: 'Polygon', coordinates: item.shape.rings]
        return [type: 'Feature', id: item.getID().toString(), geometry: geometry, properties: properties]
    }
}
