"""Contract 1: tiles and masks on disk, one table row per tile. Anyone's trainer may start here."""

from qpkit.dataset.manifest import TileSet, read_tile_set, write_tile_set
from qpkit.dataset.record import TileRecord

__all__ = ["TileRecord", "TileSet", "read_tile_set", "write_tile_set"]
