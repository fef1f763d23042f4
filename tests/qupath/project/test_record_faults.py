"""What was mended has no fault left that could be mended, and nothing else of the record has changed."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpkit.errors import FormatError, OutputError, ProjectError, UnsupportedVersionError
from qpkit.qupath.project.backend import use_backend
from qpkit.qupath.project.images.uris import file_path
from qpkit.qupath.project.opening import open_project
from qpkit.qupath.project.record_faults import good_uri, mended_record, record_faults, repeated_ids
from qpkit.qupath.project.writer import BIOFORMATS, add_image, create_project, require_no_project

uris = st.sampled_from(
    ["file:/a%20b.tif", "file:/a b.tif", "C:\\data\\a b.svs", "/data/ü.svs", "b.tif", "", "file:/a%2", "https://x/y"]
)
servers = st.fixed_dictionaries({}, optional={"uri": uris | st.none(), "args": st.just([]) | st.none()})
builders = servers | servers.map(lambda inner: {"builderType": "rotated", "builder": inner})
images = st.builds(
    lambda number, server, metadata: {"entryID": number, "serverBuilder": server, **metadata},
    st.integers(1, 4),
    builders,
    st.sampled_from([{}, {"metadata": {"a": "b"}}, {"metadata": None}]),
)
records = st.builds(
    lambda items, times: {"images": items, **times, "future": [1]},
    st.lists(images, max_size=4),
    st.fixed_dictionaries(
        {}, optional={"createTimestamp": st.sampled_from([5, None, True]), "modifyTimestamp": st.just(1.5)}
    ),
)


@given(records, st.sets(st.integers(1, 4)))
def test_what_can_be_mended_is_mended_of_the_chosen_entries_only(record: dict[str, Any], chosen: set[int]) -> None:
    before = copy.deepcopy(record)
    made = mended_record(record, list(chosen))
    assert record == before
    left = record_faults(made)
    assert all(not fault.fix or fault.entry not in (None, *chosen) for fault in left)
    expected = [fault for fault in record_faults(record) if not fault.fix or fault.entry not in (None, *chosen)]
    assert left == expected
    assert mended_record(made, list(chosen)) == made
    assert made["future"] == [1] and len(made["images"]) == len(record["images"])
    for new, old in zip(made["images"], record["images"], strict=True):
        assert (new == old) or old["entryID"] in chosen


@given(st.text("ab /\\:%2C.#?ü", max_size=8))
def test_a_good_uri_is_one_that_is_read(text: str) -> None:
    found = good_uri(text)
    if found is not None:
        assert found.isascii() and " " not in found
        file_path(found)
        assert good_uri(found) == found


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("/data/a b.svs", "file:///data/a%20b.svs"),
        ("C:\\data\\a b.svs", "file:///C:/data/a%20b.svs"),
        ("file:/a b.svs", "file:/a%20b.svs"),
        ("file:/a%2", "file:/a%252"),
        ("b.tif", None),
    ],
)
def test_a_path_is_made_a_uri(text: str, uri: str | None) -> None:
    assert good_uri(text) == uri


@given(st.lists(st.sampled_from([1, 2, 3, "x", None]), max_size=8))
def test_repeated_ids_are_counted(ids: list[Any]) -> None:
    record = {"images": [{"entryID": number} for number in ids] + [5]}
    assert repeated_ids(record) == {n: ids.count(n) for n in (1, 2, 3) if ids.count(n) > 1}


def test_a_project_made_here_has_no_faults_and_opens_by_folder_and_by_file(tmp_path: Path) -> None:
    image = tmp_path / "a b.tif"
    image.write_bytes(b"x")
    project = create_project(tmp_path / "p", version="0.6.0")
    for name in (None, "second"):
        add_image(project, image, width=40, height=30, mpp=0.5, name=name, provider=BIOFORMATS, args=["--x"],
                  image_type="UNSET", thumbnail=b"jpg")  # fmt: skip
    found = open_project(tmp_path / "p")
    assert record_faults(found.record) == [] and repeated_ids(found.record) == {}
    again = open_project(found.path)
    assert [(e.id, e.name, e.image_size, e.has_data) for e in found.entries] == [
        (1, "a b.tif", (40, 30), False), (2, "second", (40, 30), False),
    ]  # fmt: skip
    assert (again.entries, again.record, again.version) == (found.entries, found.record, "0.6.0")
    assert found.entries[0].files.thumbnail.read_bytes() == b"jpg"
    server = found.entries[0].server.innermost
    assert (server.record["providerClassName"], server.record["args"]) == (BIOFORMATS, ["--x"])
    assert len({image["randomizedName"] for image in found.record["images"]}) == 2
    with pytest.raises(OutputError, match="there is a project already"):
        require_no_project(tmp_path / "p")
    with pytest.raises(OutputError, match="is a file"):
        create_project(image)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ('{"images": [{"path": "a"}]}', UnsupportedVersionError, r"QuPath 0\.1"),
        ('{"version": "v0.2.0-m2", "images": []}', UnsupportedVersionError, r"v0\.2\.0-m2"),
        ("{}", FormatError, "no version and no images"),
        ("[]", FormatError, "no JSON object"),
        ('{"version": "1", "images": {}}', FormatError, "'images' is not a list"),
        ('{"version": "1", "images": [{"entryID": -1}]}', FormatError, "image 1 has no entryID"),
        ('{"version": "1", "images": [{"entryID": 1, "serverBuilder": {"builderType": "uri", "uri": "file:/a"}},'
         '{"entryID": 1, "serverBuilder": {"builderType": "uri", "uri": "file:/b"}}]}', FormatError, "share one"),
    ],
)  # fmt: skip
def test_a_project_that_cannot_be_opened_says_why(tmp_path: Path, text: str, error: type[Exception], said: str) -> None:
    (tmp_path / "a.qpproj").write_text(text)
    with use_backend("native"), pytest.raises(error, match=said):
        open_project(tmp_path)


def test_entries_are_chosen_by_name_or_id_in_the_projects_order(tmp_path: Path) -> None:
    image = tmp_path / "a.tif"
    image.write_bytes(b"x")
    project = create_project(tmp_path / "p")
    for name in ("b", "a", "b"):
        add_image(project, image, width=4, height=3, mpp=None, name=name, image_type="UNSET")
    found = open_project(tmp_path / "p")
    assert [e.id for e in found.chosen([])] == [1, 2, 3]
    assert [e.id for e in found.chosen(["3", "a"])] == [2, 3]
    assert [e.id for e in found.chosen(["b"])] == [1, 3]
    assert found.entry("a").id == 2
    with pytest.raises(ProjectError, match="2 entries are called 'b'"):
        found.entry("b")
    with pytest.raises(ProjectError, match="no entry 'c'; there are 'b', 'a', 'b'"):
        found.chosen(["a", "c"])
