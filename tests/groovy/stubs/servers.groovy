package qupath.lib.images.servers

class ServerBuilder {
    Map size
    String fault

    ImageServer build() {
        if (fault)
            throw new IOException(fault)
        return new ImageServer(size: size)
    }
    Optional getMetadata() { Optional.ofNullable(size.unknown ? null : new ImageServerMetadata(size: size)) }  // since 0.6
    protected ImageServerMetadata getMetadata() { null }  // until 0.5
}

class ImageServer {
    Map size

    ImageServerMetadata getMetadata() { new ImageServerMetadata(size: size) }
    void close() {}
}

class ImageServerMetadata {
    Map size

    int getWidth() { size.width }
    int getHeight() { size.height }
    PixelCalibration getPixelCalibration() { new PixelCalibration(mpp: size.mpp) }
}

class PixelCalibration {
    Double mpp

    boolean hasPixelSizeMicrons() { mpp != null }
    Number getPixelWidthMicrons() { mpp }
    Number getPixelHeightMicrons() { mpp }
}
