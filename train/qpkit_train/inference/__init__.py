"""From a trained model and slides to rasters of predictions, by torch or ONNX."""
