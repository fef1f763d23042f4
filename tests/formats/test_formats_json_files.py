"""JSON of other programs is what the standard library reads, and what is no JSON says so."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpkit.errors import FormatError, OutputError, ProjectError
from qpkit.formats.shared.json_files import finite, objects_in, read_json, write_json

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
leaves = st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | st.floats(allow_nan=False) | text
documents = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=12)


@given(documents)
@settings(max_examples=40)
def test_a_document_is_read_as_the_standard_library_reads_it(document: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        for content in (json.dumps(document).encode(), b"\xef\xbb\xbf" + json.dumps(document, indent=1).encode()):
            path.write_bytes(content)
            assert read_json(path) == document


@given(st.recursive(leaves.filter(lambda v: not isinstance(v, float) or math.isfinite(v)),
                    lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=12))  # fmt: skip
@settings(max_examples=40)
def test_what_is_written_is_read_again(document: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        write_json(path, document)
        assert read_json(path) == json.loads(path.read_bytes()) == document
        assert [item.name for item in Path(folder).iterdir()] == ["a.json"]


def test_numbers_that_json_does_not_know_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": NaN, "b": -Infinity, "c": 123456789012345678901234567890}')
    found = read_json(path)
    assert math.isnan(found["a"]) and found["b"] == -math.inf and found["c"] == 123456789012345678901234567890


@pytest.mark.parametrize("content", [b"", b"{", b"[1,]", b'"\xff"', b"[" * 100_000, "{}".encode("utf-16")])
def test_what_is_no_json_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.json: not JSON"):
        read_json(path)


def test_a_file_that_is_not_there_and_one_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"gone\.json"):
        read_json(tmp_path / "gone.json")
    with pytest.raises(OutputError, match="it is as it was"):
        write_json(tmp_path / "gone" / "a.json", {})


@given(st.dictionaries(st.sampled_from("ab"), documents), st.sampled_from("ab"))
def test_a_list_of_objects_is_given_or_refused(record: dict[str, Any], key: str) -> None:
    value = record.get(key)
    if value is None:
        assert objects_in(record, key, "x") == []
    elif isinstance(value, list) and all(isinstance(item, dict) for item in value):
        assert objects_in(record, key, "x") == value
    else:
        with pytest.raises(FormatError, match=f"x: '{key}' is not a list of objects"):
            objects_in(record, key, "x")


@given(documents | st.floats())
def test_a_number_is_finite_or_refused(value: Any) -> None:
    if type(value) in (int, float) and math.isfinite(value):
        assert finite(value, "x") == value and type(finite(value, "x")) is float
    else:
        with pytest.raises(FormatError, match=r"x: .* is not a number"):
            finite(value, "x")
