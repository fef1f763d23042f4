"""Contract 2: one raster of labels per slide and a predictions.json. Anyone's model may end here."""

from qpkit.predictions.store import (
    PredictionSet,
    RasterWriter,
    SlidePrediction,
    create_raster,
    read_predictions,
    write_predictions,
)

__all__ = [
    "PredictionSet",
    "RasterWriter",
    "SlidePrediction",
    "create_raster",
    "read_predictions",
    "write_predictions",
]
