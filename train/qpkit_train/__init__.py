"""From a folder of tiles to a trained model to rasters of predictions. torch is imported by the modules, not here."""
