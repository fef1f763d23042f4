"""Cutting JSON text by braces finds exactly the whole objects that a JSON reader finds."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from qpkit.qupath.geojson.cut import cut_objects

plain = st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
objects = st.lists(st.dictionaries(st.text(max_size=4), values, min_size=1, max_size=3), min_size=1, max_size=4)


@given(objects, st.sampled_from([",", ", ", ",\n  "]), st.integers(0, 200))
def test_whole_objects_are_found_wherever_the_text_ends(
    found: list[dict[str, object]], comma: str, missing: int
) -> None:
    text = comma.join(json.dumps(item, ensure_ascii=False) for item in found).encode()
    whole = cut_objects(text + b"]")
    assert (whole.end, whole.closed, whole.is_odd) == (len(text), True, False)
    part = text[: max(0, len(text) - missing)]
    cut = cut_objects(part)
    read = json.loads(b"[" + part[: cut.end] + b"]")
    assert read == found[: len(read)]
    assert not cut.closed
    ends = [
        len(comma.join(json.dumps(item, ensure_ascii=False) for item in found[:n]).encode())
        for n in range(1, len(found) + 1)
    ]
    followed = [end for end in ends if end < len(part)]
    assert cut.end >= max(followed, default=0)
