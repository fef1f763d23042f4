"""Where on slides to predict: inside annotations that people drew, chosen by class or name, or in a GeoJSON file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qpkit.core.annotation import Annotation
from qpkit.core.provenance import is_prediction, is_untouched
from qpkit.errors import ConfigError, listed, or_else
from qpkit.qupath import read_geojson
from qpkit.workflows.inputs.paths import fits_pattern
from qpkit.workflows.inputs.slides import SlideInput

_GEOJSON: Final = (".geojson", ".json", ".geojson.gz", ".json.gz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Within:
    """The areas of slides that are looked at.

    Args:
        inputs: Slides with such an area.
        areas: Of each of them, by name; slide frame.
        notes: What was found and what was left out.
    """

    inputs: tuple[SlideInput, ...]
    areas: Mapping[str, tuple[Annotation, ...]]
    notes: tuple[str, ...]


def areas_within(inputs: Sequence[SlideInput], wanted: str) -> Within:
    """Find the areas to look at.

    Args:
        inputs: Slides.
        wanted: Class or name of annotations, in which * and ? stand for any text; or a GeoJSON file with the areas of
            the one slide. Predictions that nobody has touched do not count.

    Raises:
        ConfigError: No slide has such an area, or a file does not go with the slides.
        FormatError: Annotations cannot be read.
    """
    option = f"--within {wanted}"
    objects = _of_file(inputs, wanted) if wanted.lower().endswith(_GEOJSON) else _of_slides(inputs, wanted)
    areas = {name: found for name, found in objects.items() if found}
    if not areas:
        known = {n for item in inputs for a in _drawn(item.objects()) for n in (a.class_name, a.name) if n}
        raise ConfigError(f"{option}: no slide has an annotation with such a class or name, {or_else(wanted, known)}")
    classes = Counter(item.class_name or item.name or "unclassified" for found in areas.values() for item in found)
    counted = listed(f"{name} {count:,}" for name, count in sorted(classes.items()))
    notes = [f"{option}: {classes.total():,} annotation(s) on {len(areas)} slide(s): {counted}"]
    without = [name for name, found in objects.items() if not found]
    if without:
        notes.append(f"{option}: {len(without)} slide(s) without such an annotation left out: {listed(without)}")
    return Within(inputs=tuple(item for item in inputs if item.source.name in areas), areas=areas, notes=tuple(notes))


def _of_slides(inputs: Sequence[SlideInput], wanted: str) -> dict[str, tuple[Annotation, ...]]:
    return {
        item.source.name: tuple(
            a for a in _drawn(item.objects()) if fits_pattern(a.class_name, wanted) or fits_pattern(a.name, wanted)
        )
        for item in inputs
    }


def _of_file(inputs: Sequence[SlideInput], wanted: str) -> dict[str, tuple[Annotation, ...]]:
    if not Path(wanted).is_file():
        raise ConfigError(f"--within {wanted}: there is no such file")
    if len(inputs) != 1:
        raise ConfigError(f"--within {wanted}: a file goes with one slide, not with {len(inputs)}; choose with --entry")
    found = _drawn(read_geojson(Path(wanted)))
    if not found:
        raise ConfigError(f"--within {wanted}: there is no annotation with an area in it")
    return {inputs[0].source.name: found}


def _drawn(objects: Sequence[Annotation]) -> tuple[Annotation, ...]:
    """Annotations with an area that people drew, accepted or changed."""
    return tuple(
        item
        for item in objects
        if item.kind == "annotation" and item.geometry.area > 0 and not (is_prediction(item) and is_untouched(item))
    )
