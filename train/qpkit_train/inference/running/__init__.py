"""Models that run: as a run folder, as an ONNX file, or several together."""
