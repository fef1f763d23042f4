"""How an imported prediction says what it is, and how to see that a person has changed it since.

Everything is kept in the object's own metadata, which every QuPath from 0.2 on carries along in its data files.
QuPath's own GeoJSON importer drops it (0.3 and 0.4 of all objects, 0.5 of detections), but keeps id and name; so the
name says the run, too, and the id is of a kind that no QuPath makes.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import LabelMap
from qpkit.core.review import REVIEW_KEY, is_mark, said_of
from qpkit.core.shape_columns import ShapeColumns

RUN_KEY: Final = "qpkit run"
MODEL_KEY: Final = "qpkit model"
CLASS_KEY: Final = "qpkit class"
SHAPE_KEY: Final = "qpkit shape"
LOCKED_KEY: Final = "qpkit locked"
"""There if the object was locked when it was imported; else it is a person who locked it."""

PROPOSED_RUN: Final = "proposed-"
"""How the ids of runs begin whose objects are proposals: clusters that no labels have taught."""

Origin = Literal["drawn", "untouched", "accepted", "edited"]
"""Where an object comes from: people drew it; it was predicted, and nobody touched, locked or changed it."""

_NAME: Final = re.compile(r"(.+) \d+ \((?:predicted by )?(.+)\)", re.DOTALL)
"""Label and run in the name of a prediction; without "predicted by" until 0.5."""

_SHAPE: Final = " ".join(["%.2f"] * 7)
"""Of the columns of `_measures`."""

_NAMESPACE: Final = uuid.UUID("7c1bd2f4-53a8-4d36-9f0e-2f8b6f1a90c5")
_SHAPE_TOLERANCE_PX: Final = 0.05
_HEXADECIMAL: Final = np.frombuffer(b"".join(b"%02X" % byte for byte in range(256)), np.uint16)
"""The two digits of each byte."""


def prediction_id(run: str, slide: str, class_name: str, geometry: BaseGeometry) -> str:
    """The id of a predicted object: the same for the same run, slide, class and shape (law 6)."""
    return prediction_ids(run, slide, [class_name], ShapeColumns.taken_from(np.array([geometry], object)))[0]


def prediction_ids(run: str, slide: str, class_names: Sequence[str], shapes: ShapeColumns) -> list[str]:
    """The ids of many predicted objects, each as `prediction_id` makes it."""
    texts = {name: _NAMESPACE.bytes + f"{run}/{slide}/{name}/".encode() for name in set(class_names)}
    heads = {name: hashlib.sha1(text, usedforsecurity=False) for name, text in texts.items()}
    names, ids = iter(class_names), list[str]()
    for content, starts in shapes.normal_wkb():
        digits = _HEXADECIMAL[content].view(np.uint8).data
        bounds = itertools.pairwise((2 * starts).tolist())
        ids += _uuids(_digest(heads[name], digits[a:b]) for (a, b), name in zip(bounds, names, strict=False))
    return ids


def _digest(head: Any, text: memoryview) -> bytes:
    """Go on with a digest, which stays as it is."""
    own = head.copy()
    own.update(text)
    digest: bytes = own.digest()
    return digest


def _uuids(digests: Iterable[bytes]) -> list[str]:
    """The UUIDs of version 5 that SHA-1 digests give, as `uuid.uuid5` makes them."""
    made = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 20)[:, :16].copy()
    made[:, 6], made[:, 8] = made[:, 6] & 0x0F | 0x50, made[:, 8] & 0x3F | 0x80
    digits = made.tobytes().hex()
    starts = range(0, len(digits), 32)
    return [
        f"{digits[n : n + 8]}-{digits[n + 8 : n + 12]}-{digits[n + 12 : n + 16]}-{digits[n + 16 : n + 20]}-"
        f"{digits[n + 20 : n + 32]}"
        for n in starts
    ]


def provenance(run: str, model: str, class_name: str, geometry: BaseGeometry) -> dict[str, str]:
    """The metadata of a predicted object."""
    return {key: column[0] for key, column in provenance_columns(run, model, [class_name], [geometry]).items()}


def provenance_columns(
    run: str,
    model: str,
    class_names: Sequence[str],
    geometries: Sequence[BaseGeometry] | NDArray[np.object_],
    *,
    locked: bool = False,
) -> dict[str, Sequence[str]]:
    """The metadata of many predicted objects, by key."""
    count = len(class_names)
    of_all = {RUN_KEY: [run] * count, MODEL_KEY: [model] * count} | ({LOCKED_KEY: ["yes"] * count} if locked else {})
    shapes = [_SHAPE % tuple(values) for values in _measures(geometries).tolist()]
    return {**of_all, CLASS_KEY: class_names, SHAPE_KEY: shapes}


def prediction_name(label: str, number: int, run: str) -> str:
    """The name of a predicted object."""
    return f"{label} {number} (predicted by {run})"


def run_of(item: Annotation) -> str | None:
    """The run that predicted an object, from its metadata or else its name; None for one that people drew."""
    if RUN_KEY in item.metadata:
        return item.metadata[RUN_KEY]
    named = _named(item)
    return named and named[1]


def is_proposal(item: Annotation) -> bool:
    """Say whether `qpkit propose` has found an object, whatever people made of it since."""
    return (run_of(item) or "").startswith(PROPOSED_RUN)


def predicted_class_of(item: Annotation) -> str | None:
    """The class that an object was predicted as, from its metadata or else its name; None if nothing says so."""
    if CLASS_KEY in item.metadata:
        return item.metadata[CLASS_KEY]
    named = _named(item)
    return str(PathClass.parse(named[0])) if named else None


def has_prediction_id(item: Annotation) -> bool:
    """Say whether an id is of the kind that imports give (version 5); copies made in QuPath get others."""
    try:
        return item.id is not None and uuid.UUID(item.id).version == 5
    except ValueError:
        return False


def is_prediction(item: Annotation) -> bool:
    """Say whether qpkit put this object there."""
    return run_of(item) is not None


def is_recognised_by_name(item: Annotation) -> bool:
    """Say whether a predicted object has lost its metadata: whether its shape was edited cannot be known."""
    return RUN_KEY not in item.metadata and is_prediction(item)


def _named(item: Annotation) -> tuple[str, str] | None:
    """Label and run in the name of an object with a version 5 id; QuPath's own ids are of version 4."""
    found = _NAME.fullmatch(item.name or "")
    return (found[1], found[2]) if found is not None and has_prediction_id(item) else None


def origin_of(item: Annotation) -> Origin:
    """Say where an object comes from."""
    if not is_prediction(item):
        return "drawn"
    if is_untouched(item):
        return "untouched"
    return "accepted" if is_untouched(_undecided(item)) else "edited"


def _undecided(item: Annotation) -> Annotation:
    """The object before a person locked it or said something of it."""
    metadata = {key: value for key, value in item.metadata.items() if key != REVIEW_KEY}
    return replace(item, locked=was_locked(item), metadata=metadata)


def is_untouched(item: Annotation) -> bool:
    """Say whether a predicted object is as qpkit wrote it: same class, same shape, locked only if it was.

    One of which a reviewer said something (`qpkit.core.review`) was touched. Shapes are compared by bounds, centroid
    (0.05 px) and area (0.1 %), because QuPath 0.6+ rounds vertices again when it saves and turns rings around. An
    object that has lost its metadata is compared by its class alone.
    """
    if said_of(item.metadata) is not None:
        return False
    if is_recognised_by_name(item):
        label, _ = _named(item) or ("", "")
        return not item.locked and item.class_name == str(PathClass.parse(label))
    if item.class_name != item.metadata.get(CLASS_KEY) or item.locked != was_locked(item):
        return False
    try:
        then = [float(part) for part in item.metadata.get(SHAPE_KEY, "").split()]
    except ValueError:
        return False
    now = _measures([item.geometry])[0]
    return len(then) == len(now) and bool(_same_measures(np.array([then]), now[np.newaxis])[0])


def same_shapes(
    then: Sequence[BaseGeometry] | NDArray[np.object_], now: Sequence[BaseGeometry] | NDArray[np.object_]
) -> NDArray[np.bool_]:
    """Say of pairs of shapes whether they are the same, as `is_untouched` compares them."""
    return _same_measures(_measures(then), _measures(now)) if len(then) else np.zeros(0, np.bool_)


def _same_measures(then: NDArray[np.float64], now: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Rows of `_measures` that are of the same shape; NaN is of none."""
    area = np.abs(then[:, 0] - now[:, 0]) <= np.maximum(1e-3 * np.maximum(then[:, 0], now[:, 0]), 0.5)
    return np.asarray(area & (np.abs(then[:, 1:] - now[:, 1:]) <= _SHAPE_TOLERANCE_PX).all(axis=1))


def was_locked(item: Annotation) -> bool:
    """Whether a prediction was locked when it was imported."""
    return LOCKED_KEY in item.metadata


def _measures(geometries: Sequence[BaseGeometry] | NDArray[np.object_]) -> NDArray[np.float64]:
    """(n, 7): area (px2), centroid x and y, bounds."""
    centres = shapely.centroid(geometries)
    columns = shapely.area(geometries), shapely.get_x(centres), shapely.get_y(centres)
    return np.column_stack([*columns, shapely.bounds(geometries)])


def drawn_by_people(objects: Iterable[Annotation], labels: LabelMap | None = None) -> list[Annotation]:
    """The objects that people drew, or imported ones that they changed or accepted; no predictions they were unsure of.

    Args:
        objects: Of one slide.
        labels: Says which kinds of objects it looks at; None looks at annotations alone.
    """
    return [o for o in objects if is_looked_at(o, labels) and not is_undecided(o)]


def is_undecided(item: Annotation) -> bool:
    """Say whether an object is a prediction that nobody has touched, or of which a reviewer is unsure."""
    return is_prediction(item) and (is_untouched(item) or said_of(item.metadata) == "unsure")


def is_looked_at(item: Annotation, labels: LabelMap | None) -> bool:
    """Say whether an object is one that masks are made of; without a label map only annotations are.

    Marks (`Reviewed*`, `Suggested*`, `Disagreement*`) are none, unless the label map names them.
    """
    if labels is None:
        return item.kind == "annotation" and not is_mark(item)
    return labels.takes(item) and (not is_mark(item) or labels.knows(item.class_name or ""))
