package qupath.lib.images

import qupath.lib.images.servers.ImageServer

class ImageData {
    String owner
    Object hierarchy
    Map size

    ImageServer getServer() { new ImageServer(size: size) }
}
