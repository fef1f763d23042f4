from __future__ import annotations

import math

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import (
    Boundary,
    Derivation,
    LabelClass,
    LabelMap,
    label_map_from_builtins,
    label_map_to_builtins,
    parse_label_map,
)
from qpkit.errors import LabelError
from qpkit.formats.shared.label_table import label_table_text

FULL = """
overlap = "smallest-on-top"
masks = "multi-label"
instances = true
objects = ["annotation", "cell"]
cell = "nucleus"
line_width_um = 4.0
point_radius_um = 3.5
regions = ["Region*"]

[boundary]
name = "edge"
value = 9
width_um = 1.5
between = "classes"
color = [1, 2, 3]

[[class]]
name = "Tumor"
value = 1
from = ["Tumor", "Tumor: Positive"]

[[class]]
name = "Rest"
value = 2
from = ["*", ""]

[[class]]
name = "Front"
value = 3
of = "Tumor"
grow_um = 50
not = ["Tumor"]
and = "Rest"
around = ["Rest"]
within_um = 20
color = [9, 8, 7]
"""


def test_a_label_map_with_every_rule_survives_its_plain_form_and_its_text() -> None:
    labels = parse_label_map(FULL, source="labels.toml")
    assert labels.boundary == Boundary(9, 1.5, "classes")
    assert labels.classes[2].derivation == Derivation(
        of=("Tumor",), inside=("Rest",), outside=("Tumor",), grow_um=50, around=("Rest",), within_um=20
    )
    assert labels.values == (0, 1, 2, 3, 9, 255)
    assert labels.trained_values == (0, 1, 2, 3, 9)
    assert labels.name_of(9) == "edge"
    assert labels.um_settings == ("line_width_um", "point_radius_um", "class 'Front'", "[boundary]")
    assert label_map_from_builtins(label_map_to_builtins(labels)) == labels
    assert parse_label_map(label_table_text(labels), source="again") == labels


@pytest.mark.parametrize(("word", "value"), [("ignore", 255), ("background", 0)])
def test_a_boundary_can_be_background_or_unknown_instead_of_a_class(word: str, value: int) -> None:
    text = f'[boundary]\nvalue = "{word}"\nwidth_um = 2.0\n[[class]]\nname = "A"\nvalue = 1\n'
    labels = parse_label_map(text, source="labels.toml")
    assert labels.boundary == Boundary(value, 2.0)
    assert [c.name for c in labels.classes] == ["A"]
    assert label_map_from_builtins(label_map_to_builtins(labels)) == labels
    assert parse_label_map(label_table_text(labels), source="again") == labels


def test_a_plain_map_is_written_as_before_there_were_rules() -> None:
    plain = LabelMap(classes=(LabelClass("A", 1, ("A",)),))
    keys = ["background", "ignore", "unannotated", "unlisted", "regions", "ignored", "class"]
    assert list(label_map_to_builtins(plain)) == keys
    assert list(label_map_to_builtins(plain)["class"][0]) == ["name", "value", "from"]


def test_a_class_may_have_the_value_that_background_has_by_default() -> None:
    labels = LabelMap(classes=(LabelClass("A", 0, ("A",)),), background=5, ignore=6, instances=True)
    assert label_map_from_builtins(label_map_to_builtins(labels)) == labels


ONE = '[[class]]\nname = "A"\nvalue = 1\n'
TWO = ONE + '[[class]]\nname = "B"\nvalue = 2\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('overlap = "later"\n' + ONE, "'order' or 'smallest-on-top' or 'error'"),
        ('masks = "many"\n' + ONE, "'single' or 'multi-label'"),
        ('objects = ["tile"]\n' + ONE, "'annotation' or 'detection' or 'cell'"),
        ("objects = []\n" + ONE, "objects = []"),
        ('masks = "multi-label"\nignore = 1\nbackground = 0\n[[class]]\nname = "A"\nvalue = 2', "cannot be told"),
        ("line_width_um = 0.0\n" + ONE, "line_width_um = 0.0"),
        ("line_width_um = nan\n" + ONE, "line_width_um = nan"),
        ("point_radius_um = -1\n" + ONE, "point_radius_um = -1"),
        ("[boundary]\nvalue = 1\nwidth_um = 1.0\n" + ONE, "value 1 is used 2 times"),
        ("[boundary]\nvalue = 255\nwidth_um = 1.0\n" + ONE, "value 255 is used 2 times"),
        ("[boundary]\nvalue = 3\nwidth_um = 0\n" + ONE, "width_um = 0"),
        ("[boundary]\nvalue = 3\nwidth_um = -2.5\n" + ONE, "width_um = -2.5"),
        ("[boundary]\nvalue = 3\nwidth_um = nan\n" + ONE, "width_um = nan"),
        ("[boundary]\nvalue = 3\nwidth_um = inf\n" + ONE, "width_um = inf"),
        ("[boundary]\nvalue = 3\n" + ONE, "width_um"),
        ("[boundary]\nvalue = 3\nwidth_px = 1\nwidth_um = 1\n" + ONE, "width_px"),
        ('[boundary]\nvalue = 3\nwidth_um = 1\nbetween = "both"\n' + ONE, "'instances' or 'classes'"),
        ('[boundary]\nvalue = 3\nname = "A"\nwidth_um = 1\n' + ONE, "class 'A' is there 2 times"),
        (ONE + 'from = ["*"]\n[[class]]\nname = "B"\nvalue = 2\nfrom = ["*"]', "'*' is used 2 times"),
        (ONE + '[[class]]\nname = "D"\nvalue = 2\nof = "C"', "derived from 'C', which"),
        (ONE + '[[class]]\nname = "D"\nvalue = 2\nof = "D"', "in a circle: D -> D"),
        (
            ONE + '[[class]]\nname = "D"\nvalue = 2\nof = "E"\n[[class]]\nname = "E"\nvalue = 3\nof = "A"\nnot = "D"',
            "in a circle: D -> E -> D",
        ),
        (TWO + 'of = "A"\nfrom = ["B"]', "not both"),
        (TWO + 'of = "A"\nwithin_um = 5', "need each other"),
        (TWO + 'of = "A"\naround = "A"', "need each other"),
        (TWO + 'of = "A"\naround = "A"\nwithin_um = -3', "within_um = -3"),
        (TWO + 'of = "A"\ngrow_um = nan', "grow_um = nan"),
        (TWO + 'of = "A"\ngrow_um = 0', "grow_um = 0 does nothing"),
        (TWO + "grow_um = 3", "derived of nothing"),
        ("[boundary]\nvalue = 3\nwidth_um = 1\n" + TWO + 'of = "boundary"', "derived from 'boundary'"),
        (TWO + 'off = "A"', "of, and, not, grow_um, around, within_um"),
    ],
)
def test_a_rule_that_cannot_be_followed_is_one_message(text: str, said: str) -> None:
    with pytest.raises(LabelError) as caught:
        parse_label_map(text, source="my/labels.toml")
    assert "my/labels.toml" in str(caught.value)
    assert said in str(caught.value)


def test_the_rest_is_every_class_that_is_not_named_and_is_no_star_class() -> None:
    labels = parse_label_map(
        'regions = ["Region*"]\nignored = ["Blur"]\n'
        '[[class]]\nname = "T"\nvalue = 1\nfrom = ["Tumor"]\n[[class]]\nname = "R"\nvalue = 2\nfrom = ["*"]',
        source="labels.toml",
    )

    def found(name: str | None) -> str | None:
        item = labels.class_of(name)
        return None if item is None else item.name

    assert found("Tumor") == "T"
    assert found("Stroma") == found("Tumor: Positive") == "R"
    assert found("Region*") is found("Artefact*") is found("Blur") is found(None) is None
    assert labels.knows("Stroma") and labels.knows("Blur") and not labels.knows("Artefact*")
    with_unclassified = LabelMap(classes=(LabelClass("R", 2, ("*", "")),))
    assert with_unclassified.class_of(None) == with_unclassified.classes[0]


def test_regions_and_ignored_areas_are_annotations_whatever_classes_are_made_of() -> None:
    labels = parse_label_map('objects = ["cell"]\nregions = ["Region*"]\n' + ONE, source="labels.toml")

    def item(kind: str, name: str) -> Annotation:
        return Annotation(geometry=shapely.box(0, 0, 1, 1), kind=kind, path_class=PathClass((name,)))  # type: ignore[arg-type]

    assert labels.takes(item("cell", "A")) and labels.takes(item("annotation", "Region*"))
    assert not labels.takes(item("annotation", "A")) and not labels.takes(item("detection", "A"))


def test_the_remaps_of_tiger_and_bcss_are_said_with_class_names() -> None:
    """TIGER's tumour-associated stroma against the rest, and BCSS's angioinvasion and DCIS into tumour."""
    tiger = parse_label_map(
        '[[class]]\nname = "rest"\nvalue = 1\nfrom = ["*"]\n'
        '[[class]]\nname = "stroma"\nvalue = 2\nfrom = ["tumor-associated stroma", "inflamed stroma"]',
        source="tiger",
    )
    values = {
        name: item.value if (item := tiger.class_of(name)) else None
        for name in ("invasive tumor", "tumor-associated stroma", "in-situ tumor", "inflamed stroma", "necrosis")
    }
    assert list(values.values()) == [1, 2, 1, 2, 1]


lengths = st.floats(allow_nan=True, allow_infinity=True)


@given(lengths, lengths)
def test_every_length_is_taken_if_and_only_if_it_is_positive(width: float, within: float) -> None:
    good = all(um > 0 and math.isfinite(um) for um in (width, within))
    tables = {
        "boundary": {"value": 9, "width_um": width},
        "class": [
            {"name": "A", "value": 1},
            {"name": "B", "value": 2, "of": "A", "around": "A", "within_um": within},
        ],
    }
    if good:
        assert label_map_from_builtins(tables).boundary == Boundary(9, width)
    else:
        with pytest.raises(LabelError):
            label_map_from_builtins(tables)
