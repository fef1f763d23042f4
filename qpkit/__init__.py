"""From QuPath annotations to a trained segmentation model and back, without QuPath or Java."""

__version__ = "0.1.0"
