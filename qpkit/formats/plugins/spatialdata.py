"""SpatialData: a store with the areas of an image as a table of shapes, and, where labels are stated, as a label image.

The library itself writes and reads the store, so it is of the version that is installed.

Source: https://spatialdata.scverse.org, models ShapesModel, Labels2DModel and TableModel.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import shapely

from qpkit.core.annotation import Annotation
from qpkit.core.geometry import polygons_of
from qpkit.core.labels import label_colors
from qpkit.errors import OutputError
from qpkit.extras import extra
from qpkit.files import new_folder
from qpkit.formats.format import Format, NothingHeldError
from qpkit.formats.shared.cannot_hold import cannot_hold, count_losses
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.drawn_labels import DrawnLabels, draw_labels
from qpkit.formats.shared.table_rows import columns_of
from qpkit.formats.shared.vector_files import LAYER, Layer, read_objects, with_shapes

CANNOT_HOLD: Final = cannot_hold(
    "no shape",
    "odd class name",
    "opacity",
    "control characters",
    instead={
        "line": "lines left out",
        "points": "points left out",
        "mixed shapes": "lines and points of mixed shapes left out",
    },
)

SHAPES: Final = LAYER
CLASSES: Final = "classes"
"""Of the label image; its table is called classes_table."""

PIXELS: Final = "global"
"""The coordinate system of level-0 px, which every store of SpatialData has; `um` is the other one."""

MICRONS: Final = "um"
MARKER: Final = "zarr.json"
LEFT_OUT: Final = "images, labels, points and tables of the store left out"
OTHER_SYSTEM: Final = "shapes without the coordinate system 'global' read in their own"


def _library() -> Any:
    """Import spatialdata.

    Raises:
        MissingExtraError: It is not installed.
    """
    with warnings.catch_warnings(), extra("spatialdata"):
        warnings.simplefilter("ignore")  # its own imports warn of each other
        import spatialdata
    return spatialdata


@contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def write(path: Path, drawings: Sequence[Drawing], choices: Choices) -> Counter[str]:
    """Write one image's objects as a store; returns what was lost.

    Raises:
        MissingExtraError: spatialdata is not installed.
        NothingHeldError: There is no area, and neither labels.
        ConfigError, LabelError: As for `draw_labels`, if labels are stated.
        OutputError: The disk is full, or there is another folder of this name.
    """
    library = _library()
    (drawing,) = drawings
    losses = count_losses(drawing.objects, CANNOT_HOLD)
    drawn = None if choices.labels is None else draw_labels(drawing, choices, what="a label image of SpatialData")
    areas = with_shapes([_area(item) for item in drawing.objects])
    if not areas and drawn is None:
        raise NothingHeldError(f"{path}: no area that a store of SpatialData can hold", losses)
    with _quietly():
        store = library.SpatialData(**_elements(areas, drawn, drawing.image))
        store.attrs["qpkit"] = {"image": drawing.image.name, "um_per_px": drawing.image.mpp}
        with new_folder(path, marker=MARKER) as folder:
            try:
                store.write(folder / "made")
                for item in (folder / "made").iterdir():
                    item.rename(folder / item.name)
                (folder / "made").rmdir()
            except (OSError, ValueError, TypeError) as err:
                raise OutputError(f"{path}: cannot be written ({' '.join(str(err).split())[:90]})") from err
    return losses


def _area(item: Annotation) -> Annotation:
    """The object with its polygons alone; empty without any."""
    if item.geometry.geom_type in ("Polygon", "MultiPolygon"):
        return item
    polygons = polygons_of(item.geometry)
    made = polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)
    return replace(item, geometry=made if polygons else shapely.Polygon(), shape="geometry")


def _elements(areas: Sequence[Annotation], drawn: DrawnLabels | None, image: ImageFacts) -> dict[str, Any]:
    import geopandas
    from spatialdata.models import Labels2DModel, ShapesModel

    made: dict[str, Any] = {}
    if areas:
        table = geopandas.GeoDataFrame(columns_of(areas), geometry=[item.geometry for item in areas])
        made["shapes"] = {SHAPES: ShapesModel.parse(table, transformations=_systems(image, 1.0, (0.0, 0.0)))}
    if drawn is not None:
        place = drawn.place
        systems = _systems(image, place.downsample, (place.x, place.y))
        labels = Labels2DModel.parse(drawn.mask, dims=("y", "x"), transformations=systems)
        made |= {"labels": {CLASSES: labels}, "tables": {f"{CLASSES}_table": _class_table(drawn)}}
    return made


def _systems(image: ImageFacts, downsample: float, corner: tuple[float, float]) -> dict[str, Any]:
    """From an element's px to level-0 px and, where their size is known, to um."""
    from spatialdata.transformations import Scale, Sequence, Translation

    def to(unit: float) -> Any:
        scale = Scale([downsample * unit] * 2, axes=("x", "y"))
        return Sequence([scale, Translation([value * unit for value in corner], axes=("x", "y"))])

    return {PIXELS: to(1.0)} | ({} if image.mpp is None else {MICRONS: to(image.mpp)})


def _class_table(drawn: DrawnLabels) -> Any:
    """Name and colour of each value, as scverse's plots look for them."""
    import anndata
    import numpy as np
    import pandas as pd
    from spatialdata.models import TableModel

    classes = drawn.labels.classes
    names = [item.name for item in classes]
    about = pd.DataFrame(
        {
            "region": pd.Categorical([CLASSES] * len(classes)),
            "value": [item.value for item in classes],
            "class": pd.Categorical(names, categories=names),
        },
        index=[str(item.value) for item in classes],
    )
    colors = label_colors(drawn.labels)
    found = anndata.AnnData(X=np.zeros((len(classes), 0), np.float32), obs=about)
    found.uns["class_colors"] = ["#{:02x}{:02x}{:02x}".format(*colors[item.value]) for item in classes]
    return TableModel.parse(found, region=CLASSES, region_key="region", instance_key="value")


def read(path: Path, image: ImageFacts, _: Choices) -> list[Drawing]:
    """Read all shapes of a store.

    Raises:
        MissingExtraError, FormatError, ProjectError: As for `read_objects`.
    """
    library = _library()
    notes: Counter[str] = Counter()
    said: dict[str, Any] = {}

    def load(folder: Path, notes: Counter[str]) -> list[Layer]:
        with _quietly():
            store = library.read_zarr(folder)
            said.update(store.attrs.get("qpkit", {}))
            own = {CLASSES, f"{CLASSES}_table"} if said else set()
            others = (*store.images, *store.labels, *store.points, *store.tables)
            notes[LEFT_OUT] += sum(name not in own for name in others)
            return [(name, _in_pixels(library, table, notes)) for name, table in store.shapes.items()]

    objects = read_objects(path, load, notes)
    name = said.get("image")
    known = image if image.name or not isinstance(name, str) else replace(image, name=name)
    return [Drawing(objects=tuple(objects), image=known, notes=+notes)]


def _in_pixels(library: Any, table: Any, notes: Counter[str]) -> Any:
    from spatialdata.transformations import get_transformation

    if PIXELS not in get_transformation(table, get_all=True):
        notes[OTHER_SYSTEM] += 1
        return table
    return library.transform(table, to_coordinate_system=PIXELS)


def _recognises(path: Path) -> bool:
    """Whether the root of a store says that it is one; or has its groups."""
    root = path / MARKER
    try:
        return b"spatialdata_attrs" in root.read_bytes() or (path / "shapes" / MARKER).is_file()
    except OSError:
        return False


FORMAT: Final = Format(
    name="spatialdata",
    title="SpatialData",
    order=145,
    suffixes=(".zarr",),
    folder=True,
    recognises_file=_recognises,
    ending_is_enough=False,
    read=read,
    write=write,
    cannot_hold=CANNOT_HOLD,
    never_replaced="choose another name, or delete it: there may be a slide in it",
    rule="areas are the shapes `annotations`, with a column for each measurement as in GeoParquet; with `--labels`, "
    "and of predictions, they are the label image `classes`, too, with a table of names and colours. The coordinate "
    "system `global` is level-0 px, `um` is um. Read are shapes of any store, in `global`.",
    source="`pip install 'qpkit[spatialdata]'`",
)
