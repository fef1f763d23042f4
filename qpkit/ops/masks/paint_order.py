"""From annotations and a label map to a list of shapes in the order in which they are drawn, and what was left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation, Plane, RoiShape
from qpkit.core.geometry import fine_ellipse, has_area, mend, polygons_of
from qpkit.core.label_rules import Derivation, Eraser
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.tiles import level_size
from qpkit.errors import GeometryError, LabelError
from qpkit.ops.masks.derived import ClassAreas
from qpkit.ops.masks.pixel_counts import Category
from qpkit.ops.masks.pixel_rule import PixelRule, fills_nonzero, level_bands, level_shape, samples_corner
from qpkit.ops.masks.strokes import outline_bands, stroke
from qpkit.ops.masks.visible import have_pixels
from qpkit.ops.vectors.areas import NO_CLASS, united
from qpkit.ops.vectors.overlaps import overlapping_pairs
from qpkit.ops.vectors.shape_faults import are_slivers, shape_array


@dataclass(frozen=True, slots=True)
class TooSmall:
    """Objects of a class that have no pixel.

    Args:
        objects: How many.
        largest_px2: Area of the largest, slide px2.
    """

    objects: int
    largest_px2: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintAudit:
    """What became of the annotations that were to be drawn; every one is counted once, in one of the first seven.

    Args:
        drawn: Objects that have pixels of their own (whether or not others cover them), by QuPath class.
        unlisted: Objects of classes that the label map does not name, by class; "(none)" has no class.
        without_area: Lines, points and empty shapes: they have no pixels.
        other_plane: Objects on another z, t or channel.
        without_nucleus: Cells that should be drawn as their nucleus and have none.
        outside: Objects that do not touch the slide at all.
        too_small: Objects that fall between the pixels at this resolution, by class.
        mended: Of the drawn ones, how many were not valid and were mended (make_valid, both lobes of a bow tie).
        stroked: Of the drawn ones, how many are lines or points drawn as wide as the label map says.
        slivers: Of the drawn ones, how many are thinner than half a slide px or smaller than one, which nobody draws.
        empty: Classes of the label map of which nothing was drawn on this slide.
    """

    drawn: Mapping[str, int]
    unlisted: Mapping[str, int]
    without_area: int = 0
    other_plane: int = 0
    mended: int = 0
    outside: int = 0
    too_small: Mapping[str, TooSmall] = field(default_factory=dict)
    stroked: int = 0
    without_nucleus: int = 0
    slivers: int = 0
    empty: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Instance:
    """One object of an instance mask.

    Args:
        number: Its value in the mask, from 1 on, the same in all tiles of a slide.
        object_id: QuPath's id, "" where the file has none; the points of one object share it.
        class_name: QuPath class, "" without one.
        label: Class of the label map.
        value: That class's value.
    """

    number: int
    object_id: str
    class_name: str
    label: str
    value: int


@dataclass(slots=True)
class _Shape:
    """One thing to draw: its place in the order, what it is, where it is (slide and level frame), how it is filled."""

    rank: tuple[float, ...]
    category: Category
    level: BaseGeometry
    slide: BaseGeometry
    nonzero: bool = False
    number: int = 0


@dataclass(frozen=True, slots=True)
class _Object:
    """An annotation that is to be drawn."""

    item: Annotation
    shapes: Sequence[_Shape]
    was_mended: bool
    was_stroked: bool


@dataclass(frozen=True, slots=True)
class PaintOrder:
    """Shapes in the order of drawing.

    Args:
        geometries: Level frame.
        categories: Of each.
        nonzero: Of each, whether the non-zero rule fills it; see `scanline.pack`.
        numbers: Instance number of each; 0 is none.
        instances: Every instance, by number.
        audit: What became of the objects.
    """

    geometries: Sequence[BaseGeometry]
    categories: Sequence[Category]
    nonzero: Sequence[bool]
    numbers: Sequence[int]
    instances: Sequence[Instance]
    audit: PaintAudit


class PaintPlan:
    """Puts the objects of one slide into the order of drawing.

    Regions lie lowest, then classes and erasers by the label map's overlap rule, ignored areas on top. The band along
    an object's outline comes right after the object, so that what covers the object covers the hidden part of its
    outline.

    Args:
        labels, downsample, plane, slide_size, pixel_rule, mpp: As for Painting.

    Raises:
        LabelError: The label map states um and the slide's um per px are not known.
    """

    def __init__(
        self,
        labels: LabelMap,
        *,
        downsample: float,
        plane: Plane,
        slide_size: tuple[int, int] | None,
        pixel_rule: PixelRule,
        mpp: float | None,
    ) -> None:
        if labels.um_settings and (mpp is None or not mpp > 0):
            raise LabelError(
                f"the label map states um ({', '.join(labels.um_settings)}), but nothing says how many um a px of the "
                "slide is; set the pixel size in QuPath or state it with --slide-mpp"
            )
        self._labels, self._downsample, self._plane = labels, downsample, plane
        self._rule, self._mpp = pixel_rule, mpp
        self._size = None if slide_size is None else level_size(slide_size, downsample)
        self._frame = None if slide_size is None else shapely.box(0, 0, *(size / downsample for size in slide_size))
        self._layer = {item.name: float(layer) for layer, item in enumerate(labels.order)}
        self._classes: dict[str | None, LabelClass | Eraser | None] = {}
        self._unlisted: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._objects: list[_Object] = []
        self._shapes: list[_Shape] = []
        self._traces: dict[str, list[BaseGeometry]] = {}
        self._instances: list[Instance] = []
        self._last = 0

    def order(
        self, annotations: Sequence[Annotation], unknown: Sequence[Annotation] = (), *, over_regions: bool = False
    ) -> PaintOrder:
        """Order the objects of the slide; to be called once.

        Args:
            annotations: Slide frame; drawn by the label map, and counted.
            unknown, over_regions: As for Painting.

        Raises:
            LabelError: A class is not in a map with unlisted = "error", or objects overlap in one with overlap =
                "error".
            GeometryError: A coordinate is not finite.
        """
        self._last = len(annotations)
        for position, item in enumerate(annotations):
            self._add(item, position)
        if self._labels.overlap == "error":
            _refuse_overlaps([(o.item, s) for o in self._objects for s in o.shapes if s.category.role == "class"])
        audit, shown = self._account()
        self._add_unknown(unknown, over_regions=over_regions)
        areas = self._areas()
        shown |= self._add_derived(areas)
        self._add_bands(areas)
        self._shapes.sort(key=lambda shape: shape.rank)
        named = (c.name for c in self._labels.classes if c.sources or c.derivation)
        return PaintOrder(
            geometries=[s.level for s in self._shapes],
            categories=[s.category for s in self._shapes],
            nonzero=[s.nonzero for s in self._shapes],
            numbers=[s.number for s in self._shapes],
            instances=self._instances,
            audit=replace(audit, empty=tuple(name for name in named if name not in shown)),
        )

    def _add(self, item: Annotation, position: int) -> None:
        category = self._category(item)
        if not on_plane(item.plane, self._plane):
            self._counts["other plane"] += 1
        elif category is None:
            self._unlisted[item.class_name or NO_CLASS] += 1
        elif (geometry := self._geometry(item)) is None:
            self._counts["without nucleus"] += 1
        else:
            is_area = has_area(geometry)
            areas = [self._refined(geometry, item)] if is_area else self._stroked(geometry, category)
            kind = item.shape if is_area and geometry is item.geometry else None
            shapes = [self._shape(area, kind, category, position) for area in areas]
            filled = [shape for shape, _ in shapes if not shape.level.is_empty]
            if not filled:
                self._counts["without area"] += 1
                return
            self._shapes += filled
            self._objects.append(_Object(item, filled, any(mended for _, mended in shapes), not is_area))

    def _add_unknown(self, objects: Sequence[Annotation], *, over_regions: bool) -> None:
        category = Category("unknown", self._labels.ignore)
        for position, item in enumerate(objects):
            if on_plane(item.plane, self._plane) and has_area(item.geometry):
                rank = (0.5 if over_regions else -0.5, 0, position, 0)
                level, _ = level_shape(item.geometry, item.shape, downsample=self._downsample, rule=self._rule)
                shape = _Shape(rank, category, level, item.geometry, fills_nonzero(item.shape, self._rule))
                self._shapes += [] if level.is_empty else [shape]

    def _account(self) -> tuple[PaintAudit, set[str]]:
        """Count what has pixels and what has none, number the instances, and name the classes that have some."""
        corner = samples_corner(self._rule, self._downsample)
        levels, nonzero = [s.level for s in self._shapes], [s.nonzero for s in self._shapes]
        seen = iter(have_pixels(levels, nonzero, size=self._size, corner=corner).tolist())
        drawn, counts, labels = Counter[str](), self._counts, set()
        small: dict[str, TooSmall] = {}
        slides: list[BaseGeometry] = []
        for made in self._objects:
            name = made.item.class_name or NO_CLASS
            visible = [shape for shape in made.shapes if next(seen)]
            if visible:
                drawn[name] += 1
                counts["mended"] += made.was_mended
                counts["stroked"] += made.was_stroked
                labels.add(made.shapes[0].category.label)
                slides += [shape.slide for shape in made.shapes]
                self._number(visible, made.item)
            elif any(map(self._touches_slide, made.shapes)):
                before = small.get(name, TooSmall(0, 0.0))
                area = sum(mend(shape.slide)[0].area for shape in made.shapes)
                small[name] = TooSmall(before.objects + 1, max(before.largest_px2, area))
            else:
                counts["outside"] += 1
        audit = PaintAudit(
            drawn=drawn,
            unlisted=self._unlisted,
            without_area=counts["without area"],
            other_plane=counts["other plane"],
            without_nucleus=counts["without nucleus"],
            outside=counts["outside"],
            too_small=small,
            mended=counts["mended"],
            stroked=counts["stroked"],
            slivers=int(are_slivers(shape_array(slides)).sum()),
        )
        return audit, labels

    def _category(self, item: Annotation) -> Category | None:
        """What an object is drawn as; None leaves it out."""
        labels, name = self._labels, item.class_name
        if name is not None and name in labels.regions:
            return Category("region", labels.background)
        if name is not None and name in labels.ignored:
            return Category("ignored", labels.ignore)
        if name not in self._classes:
            self._classes[name] = labels.drawn_as(name)
        found = self._classes[name]
        if isinstance(found, Eraser):
            value = labels.background if found.leaves == "background" else labels.ignore
            return Category("erased", value, found.name, name or NO_CLASS)
        if found is not None:
            return Category("class", found.value, found.name, name or NO_CLASS)
        if labels.unlisted == "error":
            raise LabelError(
                f"class {name or NO_CLASS!r} is not in the label map; name it there, or set "
                'unlisted = "skip" or "ignore"'
            )
        return Category("ignored", labels.ignore) if labels.unlisted == "ignore" else None

    def _geometry(self, item: Annotation) -> BaseGeometry | None:
        """The part of an object that is drawn: a cell's nucleus where the label map says so; None if it has none."""
        geometry = item.nucleus if item.kind == "cell" and self._labels.cell == "nucleus" else item.geometry
        if geometry is not None and not np.isfinite(shapely.get_coordinates(geometry)).all():
            raise GeometryError(f"object {item.id or item.name or '?'} ({item.class_name}): a coordinate is not finite")
        return geometry

    def _refined(self, geometry: BaseGeometry, item: Annotation) -> BaseGeometry:
        """The shape itself, with more corners if it is an ellipse."""
        is_ellipse = item.shape == "ellipse" and geometry is item.geometry
        return fine_ellipse(geometry, self._downsample) if is_ellipse else geometry

    def _stroked(self, geometry: BaseGeometry, category: Category) -> list[BaseGeometry]:
        """Lines and points as wide as the label map says; distances are measured from them even if it says nothing."""
        if category.role == "class" and not geometry.is_empty:
            self._traces.setdefault(category.label, []).append(geometry)
        width, radius = self._labels.line_width_um, self._labels.point_radius_um
        return stroke(
            geometry,
            line_width=width and self._px(width),
            point_radius=radius and self._px(radius),
            downsample=self._downsample,
        )

    def _px(self, um: float) -> float:
        assert self._mpp is not None
        return um / self._mpp

    def _shape(
        self, geometry: BaseGeometry, kind: RoiShape | None, category: Category, position: int
    ) -> tuple[_Shape, bool]:
        level, was_mended = level_shape(geometry, kind, downsample=self._downsample, rule=self._rule)
        rank = self._rank(category, position, geometry)
        return _Shape(rank, category, level, geometry, fills_nonzero(kind, self._rule)), was_mended

    def _rank(self, category: Category, position: int, geometry: BaseGeometry) -> tuple[float, ...]:
        # Region 0 (unknown just below or above it), class 1, band on top of all classes 2, ignored 3; then layer or
        # size; the place in the project; last whether it is the band of the shape before it.
        if category.role == "region":
            return (0, 0, position, 0)
        if category.role == "ignored":
            return (3, 0, position, 0)
        if self._labels.overlap == "smallest-on-top":
            return (1, -mend(geometry)[0].area, position, 0)
        return (1, self._layer[category.label], position, 0)

    def _number(self, shapes: Sequence[_Shape], item: Annotation) -> None:
        for shape in shapes:
            if shape.category.role == "class":
                shape.number = len(self._instances) + 1
                named = (item.id or "", item.class_name or "", shape.category.label, shape.category.value)
                self._instances.append(Instance(shape.number, *named))

    def _touches_slide(self, shape: _Shape) -> bool:
        return self._frame is None or bool(shape.level.intersects(self._frame))

    def _areas(self) -> ClassAreas:
        labels = self._labels
        derivations: dict[str, Derivation] = {c.name: c.derivation for c in labels.classes if c.derivation}
        drawn: dict[str, list[BaseGeometry]] = {}
        if derivations or labels.boundary:
            for shape in self._shapes:
                if shape.category.role == "class":
                    drawn.setdefault(shape.category.label, []).append(mend(shape.slide)[0])
        return ClassAreas(drawn, self._traces, derivations, mpp=self._mpp, downsample=self._downsample)

    def _add_derived(self, areas: ClassAreas) -> set[str]:
        """Add the derived classes and give the names of those that have an area; they come last within their rank."""
        found = set()
        for item in self._labels.classes:
            if item.derivation is None:
                continue
            category = Category("derived", item.value, item.name)
            for part in polygons_of(areas.area(item.name)):
                self._last += 1
                level, _ = level_shape(part, None, downsample=self._downsample, rule=self._rule)
                if not level.is_empty:
                    self._shapes.append(_Shape(self._rank(category, self._last, part), category, level, part))
                    found.add(item.name)
        return found

    def _add_bands(self, areas: ClassAreas) -> None:
        boundary = self._labels.boundary
        if boundary is None:
            return
        slides: list[BaseGeometry] = []
        ranks: list[tuple[float, ...]] = []
        if boundary.between == "instances":
            outlined = [s for s in self._shapes if s.category.role in ("class", "derived")]
            slides, ranks = [mend(s.slide)[0] for s in outlined], [(*s.rank[:3], 1.0) for s in outlined]
        else:
            on_top = self._labels.overlap == "smallest-on-top"
            for name in (c.name for c in self._labels.classes if c.sources or c.derivation):
                parts = polygons_of(areas.area(name))
                slides += parts
                # Infinite: behind every object of the class.
                ranks += [(2.0, 0, 0, 0) if on_top else (1.0, self._layer[name], math.inf, 0)] * len(parts)
        category = Category("boundary", boundary.value)
        bands = outline_bands(slides, self._px(boundary.width_um), self._downsample)
        levels = level_bands(bands, downsample=self._downsample, rule=self._rule)
        self._shapes += [_Shape(rank, category, *pair) for rank, *pair in zip(ranks, levels, bands, strict=True)]


def on_plane(plane: Plane, wanted: Plane) -> bool:
    """Say whether an object's plane is shown where `wanted` is: same z and t, and channel -1 is on all channels."""
    return plane.z == wanted.z and plane.t == wanted.t and (plane.c in (-1, wanted.c) or wanted.c == -1)


def _refuse_overlaps(drawn: Sequence[tuple[Annotation, _Shape]]) -> None:
    """Raise LabelError if two objects of different values share 1 px2 or more."""
    slides = [mend(shape.slide)[0] for _, shape in drawn]
    values = [shape.category.value for _, shape in drawn]
    pairs = overlapping_pairs(slides, layers=[0] * len(drawn), groups=values)
    if not pairs:
        return
    worst = max(pairs, key=lambda pair: pair.area)
    one, other = drawn[worst.inner][0], drawn[worst.outer][0]
    place = united([slides[worst.inner].intersection(slides[worst.outer])]).representative_point()
    raise LabelError(
        f'{len(pairs)} pair(s) of objects of different values overlap, which overlap = "error" refuses; most of all '
        f"{_called(one)} and {_called(other)}: {worst.area:.0f} px2 near x={place.x:.0f}, y={place.y:.0f}; change "
        'their shapes in QuPath, or set overlap = "order" or "smallest-on-top"'
    )


def _called(item: Annotation) -> str:
    return f"{item.class_name or NO_CLASS} ({item.id or 'without an id'})"
