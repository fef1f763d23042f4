"""Features are read the same in whatever pieces they come, and found in whatever wrapper they lie."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from qpkit.errors import FormatError
from qpkit.qupath.geojson.features import GEOMETRIES, UNKNOWN_TYPE, FeatureReader, features_of, type_name

BOX = {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]]}
POINT = {"type": "Point", "coordinates": [1, 2]}


def feature(number: int, kind: str, geometry: Any, children: list[Any]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": geometry,
        "properties": {"objectType": kind, "name": str(number), "childObjects": children},
    }


trees = st.recursive(
    st.builds(feature, st.integers(0, 9), st.sampled_from(["annotation", "cell", "root"]),
              st.sampled_from([BOX, POINT]), st.just([])),
    lambda below: st.builds(feature, st.integers(0, 9), st.sampled_from(["annotation", "root"]),
                            st.sampled_from([BOX, POINT]), st.lists(below, max_size=3)),
    max_leaves=6,
)  # fmt: skip


def flat(features: list[Any], parent: int | None, rows: list[tuple[str, int | None]]) -> list[tuple[str, int | None]]:
    """Names and parents, depth first; roots are no objects, what is below one is below nothing or its parent."""
    for item in features:
        above = parent
        if item["properties"]["objectType"] != "root":
            rows.append((item["properties"]["name"], parent))
            above = len(rows) - 1
        flat(item["properties"]["childObjects"], above, rows)
    return rows


@given(st.lists(trees, max_size=5), st.integers(1, 3))
def test_batches_of_any_size_give_the_same_objects_and_parents(features: list[Any], size: int) -> None:
    whole = FeatureReader(Counter()).read(features, source="a", first=0)
    reader = FeatureReader(Counter())
    parts = [
        item
        for first in range(0, len(features), size)
        for item in reader.read(features[first : first + size], source="a", first=first)
    ]
    assert list(map(repr, parts)) == list(map(repr, whole))
    assert [(item.name, item.parent) for item in whole] == flat(features, None, [])
    drawn = (shapely.box(0, 0, 4, 4), shapely.Point(1, 2))
    assert all(any(item.geometry.equals(shape) for shape in drawn) for item in whole)


@given(st.lists(trees, max_size=3), st.integers(0, 3))
def test_features_are_found_in_arrays_and_collections(features: list[Any], depth: int) -> None:
    collection: Any = {"type": "FeatureCollection", "features": features}
    array: Any = features
    for _ in range(depth):
        collection, array = [collection], [array]
    assert list(features_of(collection, "a")) == list(features_of(array, "a")) == features
    assert list(features_of([array, collection], "a")) == features * 2


@pytest.mark.parametrize("kind", GEOMETRIES)
def test_a_bare_geometry_is_a_feature(kind: str) -> None:
    assert list(features_of({"type": kind, "x": 1}, "a")) == [{"type": "Feature", "geometry": {"type": kind, "x": 1}}]


@pytest.mark.parametrize("value", [None, 5, "Feature", {}, {"type": "Topology"}, {"type": None}, [[3]]])
def test_what_is_no_geojson_is_refused_by_name(value: Any) -> None:
    with pytest.raises(FormatError, match=r"^here: no FeatureCollection, Feature or geometry but"):
        list(features_of(value, "here"))
    with pytest.raises(FormatError, match="without a list of features"):
        list(features_of({"type": "FeatureCollection"}, "here"))


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("annotation", "annotation"),
        ("PathDetectionObject", "detection"),
        ("tma_core", "tma_core"),
        ("tmaCore", "tma_core"),
        ("TMACoreObject", "tma_core"),
        ("Tile", "tile"),
        ("PathCellObject", "cell"),
        ("something", "annotation"),
    ],
)
def test_an_object_type_is_known_under_all_its_names(written: str, kind: str) -> None:
    for record in ({"objectType": written}, {"object_type": written}, {"type": written}):
        notes: Counter[str] = Counter()
        (found,) = FeatureReader(notes).read([{"geometry": BOX, "properties": record}], source="a", first=0)
        assert (found.kind, found.shape) == (kind, "ellipse" if kind == "tma_core" else "rectangle")
        assert notes == ({UNKNOWN_TYPE: 1} if written == "something" else {})
    assert type_name({"id": written}, {}) == (written if written.endswith("Object") else "annotation")
    assert type_name({"id": "PathTileObject"}, {"object_type": "cell", "type": "tile"}) == "cell"


def test_the_number_of_a_bad_feature_counts_on_over_batches() -> None:
    reader = FeatureReader(Counter())
    reader.read([{"geometry": BOX}] * 3, source="here", first=0)
    with pytest.raises(FormatError, match=r"^here: feature 4: its geometry"):
        reader.read([{"geometry": BOX}, {"geometry": {"type": "Circle"}}], source="here", first=3)
    with pytest.raises(FormatError, match=r"^here: feature 3: its properties are not an object"):
        reader.read([{"geometry": BOX, "properties": 5}], source="here", first=3)
    (after,) = reader.read([{"geometry": BOX, "properties": {"childObjects": []}}], source="here", first=5)
    assert after.parent is None


def test_a_nucleus_and_the_mark_of_a_missing_core_belong_to_their_kinds_only() -> None:
    record = {"geometry": BOX, "nucleusGeometry": POINT, "properties": {"isMissing": True, "isLocked": "TRUE"}}
    for kind in ("cell", "tma_core", "detection"):
        properties = {**record["properties"], "objectType": kind}  # type: ignore[dict-item]
        (found,) = FeatureReader(Counter()).read([{**record, "properties": properties}], source="a", first=0)
        assert (found.nucleus is not None, found.is_missing, found.locked) == (kind == "cell", kind == "tma_core", True)
