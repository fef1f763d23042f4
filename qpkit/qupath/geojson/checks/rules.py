"""What in a GeoJSON file makes a QuPath refuse it, or read something else than what is written: the table of rules.

Only the rules; `features`, `classes` and `geometries` find what they speak of. QuPath 0.2.3 has no importer and is not
in the table. Source: the answers of v0.3.2, v0.4.4, v0.5.1, v0.6.0 and v0.7.0 to some 230 test files, and their
importers (PathIO, GsonTools, QuPathTypeAdapters, PathClass, ImagePlane). To be on the safe side the rule says refused
of polygons that are not finite, some of which QuPath takes, and of detections with the geometry {}.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final, Literal

VERSIONS: Final = ("0.3.2", "0.4.4", "0.5.1", "0.6.0", "0.7.0")
"""The versions whose answers are known; each stands for its minor version."""

Severity = Literal["refused", "changed"]

_ALL: Final = VERSIONS
_03: Final = VERSIONS[:1]
_04: Final = VERSIONS[1:2]
_03_04: Final = VERSIONS[:2]
_03_05: Final = VERSIONS[:3]
_FROM_04: Final = VERSIONS[1:]
_FROM_05: Final = VERSIONS[2:]
_FROM_06: Final = VERSIONS[3:]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Args:
        severity: "refused" if one such object aborts the whole import, "changed" if it is read as something else.
        versions: Which it hits.
        text: What is wrong, and for "changed" what becomes of it.
    """

    severity: Severity
    versions: tuple[str, ...]
    text: str


_refused, _changed = functools.partial(Rule, "refused"), functools.partial(Rule, "changed")


def since_04(rule: Rule) -> Rule:
    """Give the rule for what 0.3 does not look at."""
    return Rule(rule.severity, tuple(version for version in rule.versions if version in _FROM_04), rule.text)


# The file
NOT_JSON = _refused(_ALL, "the file is not JSON")
OTHER_CONTAINER = _refused(_ALL, "the content is packed otherwise than the name says")
GZIP_UNKNOWN = _changed(_03, "0.3 does not read .gz; nothing is imported")
NAME_UNKNOWN = _changed(_ALL, "the name does not end in .geojson, .json, .gz or .zip; nothing is imported")
MEMBER_SKIPPED = _changed(_ALL, "a file in the zip that is refused is skipped without a word")
EMPTY_FILE = _changed(_ALL, "the file is empty; nothing is imported, without a word")
NO_GEOJSON = _changed(_ALL, "no FeatureCollection, Feature or geometry; it is passed over without a word")
WRAPPER_TYPE = _refused(_ALL, '"type" at the top is null or no text')
TEXT_NOT_UTF8 = _changed(
    _FROM_04, "the text is no UTF-8 (Latin-1?); letters beyond ASCII become a replacement character"
)
TEXT_ENCODING = _changed(_03, "text beyond ASCII is garbled where the system does not use UTF-8 (Windows)")

# Features
NO_OBJECT = _refused(_ALL, "a feature is null or no object (a comma too many does it)")
ID_NULL = _refused(_ALL, '"id" is null or no plain value')
ID_REPLACED = _changed(_FROM_04, "the id is no UUID; it is replaced by a new one")
ID_TWICE = _changed(_FROM_04, "the id is there twice; QuPath adds both, and what finds objects by id fails later")
PROPERTIES_NULL = _refused(_ALL, '"properties" is null or no object')
NAME_NULL = _refused(_ALL, '"name" is null or no plain value')
TYPE_NULL = _refused(_FROM_04, '"objectType" is null or no plain value')
TYPE_NULL_03 = _refused(_03, '"object_type" or "type" is null or no plain value')
TYPE_UNKNOWN = _changed(_FROM_04, "an unknown object type becomes an annotation")
TYPE_LOST = _changed(_03, '0.3 reads "object_type", not "objectType"; the object becomes an annotation')
TYPE_ROOT = _changed(_FROM_04, "a root object is read, but adding stops there: what comes behind it is not added")
TYPE_ROOT_03 = _changed(_03, TYPE_ROOT.text)
CORE_SKIPPED = _changed(_FROM_04, "QuPath's import dialog leaves TMA cores out")
COLOR_BAD = _refused(_ALL, '"color" is neither a whole number nor [red, green, blue]')
COLOR_LOST = _changed(_ALL, '"color" is not [red, green, blue]; the object has no colour')
METADATA_LOST = _changed(_03_04, "metadata are dropped")
CHILDREN_LOST = _changed(_03, "childObjects are dropped")
PLANE_MISPLACED = _changed(_ALL, '"plane" stands in the properties, not in the geometry; it is ignored')
NUCLEUS_MISPLACED = _changed(_ALL, '"nucleusGeometry" stands in the properties; the nucleus is dropped')

# Classes
CLASS_NULL = _refused(_03, '"classification" is null')
CLASS_TEXT = _refused(_03, '"classification" is a text, not an object')
CLASS_OTHER = _refused(_ALL, '"classification" is neither an object nor a text')
CLASS_NO_TEXT = _refused(_ALL, "the class name is a list or an object, not a text")
CLASS_NAMES_BAD = _refused(_FROM_04, '"names" is no list of texts')
CLASS_PARENT_BAD = _refused(_ALL, '"parentClass" is no object')
CLASS_BLANK = _refused(_FROM_04, "the class name is blank, or a part of it before or after a colon is")
CLASS_BLANK_CHILD = _refused(_03, "the class below a parent class has a blank name")
CLASS_COLON_LAST = _refused(_03, "the class name ends in a colon")
CLASS_COLON_CHILD = _refused(_03, "the class below a parent class has a colon in its name")
CLASS_COLON_INSIDE = _refused(_FROM_04, 'a class below a parent class, or one of "names", has a colon in its name')
CLASS_LINE_BREAK = _refused(_FROM_04, "the class name has a line break")
CLASS_LINE_BREAK_03 = _refused(_03, CLASS_LINE_BREAK.text)
CLASS_NO_COLOR = _refused(_FROM_04, 'the class has neither "color" nor "colorRGB" (nor has its parent)')
CLASS_COLOR_BAD = _refused(_FROM_04, "the class colour is not a list of 3 or 4 numbers")
CLASS_RGB_BAD = _refused(_ALL, '"colorRGB" is no whole number')
CLASS_COLON_KEPT = _changed(_FROM_04, 'with "colorRGB", 0.4 and later keep needless colons in the class name')
CLASS_BLANK_KEPT = _changed(_FROM_04, 'with "colorRGB", 0.4 and later make a class with a blank name')
CLASS_NAMES_LOST_04 = _changed(
    _FROM_04, 'with "colorRGB" or "parentClass", "names" is not read; the object has no class'
)
CLASS_NAMES_LOST = _changed(_03, '0.3 does not read "names"; the object has no class')
CLASS_COLOR_LOST = _changed(_03, '0.3 reads "colorRGB", not "color"; the class has another colour')

# Measurements
LIST_BAD = _refused(_ALL, "measurements are a list with something else than {name, value}, or a value is no number")
MAP_BAD = _refused(_04, "a measurement is null, NaN, a text, true or nested")
MAP_TEXT = _refused(_FROM_05, "a measurement is a text that is no number")
MAP_VALUE_LOST = _changed(_FROM_05, "a measurement is null, true or nested; it is dropped")
MAP_LOST = _changed(_03, "0.3 reads measurements as a list, not as a map; they are dropped")
VALUE_INFINITE = _changed(_FROM_04, "a measurement is larger than 3.4e38; it becomes infinite")

# Shapes
GEOMETRY_NULL = _refused(_ALL, "the geometry is missing, null or no object")
GEOMETRY_EMPTY = _refused(_ALL, "the geometry has no type ({} is an object without a ROI)")
GEOMETRY_TYPE = _refused(_ALL, "the geometry has a type that QuPath does not know")
NO_COORDINATES = _refused(_ALL, "the geometry has no list of coordinates")
POINT_BAD = _refused(_ALL, "a point is not a list of two or three numbers")
NOT_FINITE = _refused(_FROM_06, "a polygon has a coordinate that is NaN or infinite")
NOT_FINITE_Y = _refused(_03_05, "a polygon has a y that is NaN")
NOT_FINITE_KEPT = _changed(_ALL, "a coordinate is NaN or infinite; the point is dropped or moved far away")
RING_OPEN = _refused(_ALL, "a ring is not closed: its last point is not its first")
RING_SHORT = _refused(_ALL, "a ring has fewer than three points")
SHELL_EMPTY = _refused(_ALL, "a polygon has holes, but no outer ring")
LINE_SHORT = _refused(_ALL, "a line has one point")
ONE_PART = _refused(_03_05, "a MultiPolygon has exactly one polygon")
COLLECTION = _refused(_FROM_06, "the geometry is a GeometryCollection")
COLLECTION_CUT = _changed(_03_05, "of a GeometryCollection only the parts of the highest dimension are kept")
INVALID = _refused(_FROM_06, "the polygon is invalid: it crosses itself, or its holes or parts overlap")
INVALID_KEPT = _changed(_03_05, "the polygon is invalid; it is repaired or kept as it is, its area may be wrong")
SHAPE_EMPTY = _changed(_ALL, "the shape has no extent; it becomes an empty rectangle")
LINES_STUCK = _changed(_ALL, "a MultiLineString is imported, but QuPath cannot export it again")
PLANE_BAD = _refused(_ALL, '"plane" is no object with the numbers c, z and t, or has other keys')
PLANE_NEGATIVE = _refused(_ALL, "the plane has a negative z or t, or a c below -1")
PLANE_CUT = _changed(_ALL, "the plane is no whole number; it is cut")
ELLIPSE_BAD = _refused(_FROM_04, '"isEllipse" is null or no plain value')
ELLIPSE_LOST = _changed(_03, "0.3 does not know ellipses; it becomes a polygon")
NUCLEUS_NULL = _refused(_ALL, '"nucleusGeometry" is null or no object')
NUCLEUS_EMPTY = _refused(_03, '"nucleusGeometry" is {}, or has no type')
