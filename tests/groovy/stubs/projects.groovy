package qupath.lib.projects

import java.nio.file.Path
import qupath.lib.images.ImageData
import qupath.lib.images.servers.ServerBuilder

class Project {
    File file
    List entries = []
    List classes = []

    String getName() { file.getParentFile().getName() }
    Path getPath() { file.toPath() }
    List getImageList() { entries }
    List getPathClasses() { classes }
    ProjectImageEntry getEntry(ImageData data) { entries.find { it.key == data.owner } }
}

class ProjectImageEntry {
    String key
    String title
    URI place
    Map facts = [:]
    Map size = [:]
    String fault
    Object saved
    int saves = 0

    String getID() { key }
    String getImageName() { title }
    Collection getURIs() { [place] }
    Map getMetadataMap() { Collections.unmodifiableMap(facts) }
    Map getMetadata() { facts }  // since 0.6
    ServerBuilder getServerBuilder() { new ServerBuilder(size: size, fault: fault) }
    Object readHierarchy() { readImageData().getHierarchy() }
    ImageData readImageData() {
        if (fault)
            throw new IOException(fault)
        return new ImageData(owner: key, hierarchy: saved, size: size)
    }
    void saveImageData(ImageData data) {
        saved = data.getHierarchy()
        saves++
    }
}

class ProjectIO {
    static Project only

    static Project loadProject(File file, Class kind) { only }
}
