"""What must never happen to a user's project: half-written files, and harm from hostile ones."""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path

import fuzz
import pytest
import shapely

from qpkit.core.annotation import Annotation, PathClass
from qpkit.errors import FormatError, ProjectError
from qpkit.qupath import QpData, open_project
from qpkit.qupath.java.grammar import MAGIC

KILLS = 200


def generation(number: int) -> list[Annotation]:
    """The objects of one import; all or none of them must be found."""
    return [
        Annotation(
            geometry=shapely.box(k, number % 500, k + 1, number % 500 + 1),
            path_class=PathClass((f"G{number % 7}",), -1),
            name=str(number),
            metadata={"generation": str(number)},
        )
        for k in range(40)
    ]


def write_for_ever(project: Path, seed: int, ready: int) -> None:
    """Replace the last generation by the next one, again and again; say by a pipe when the first one begins."""
    number = seed * 10_000
    while True:
        entry = next(item for item in open_project(project).entries if item.id == 3)
        old = [str(item.id) for item in entry.objects() if "generation" in item.metadata]
        os.write(ready, b".")
        entry.replace_objects(remove=old, add=generation(number))
        number += 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 needs a system with fork")
def test_a_killed_writer_leaves_the_old_or_the_new_file(project_copy: Callable[[str], Path]) -> None:
    folder = project_copy("v0.5.1")
    data, project = folder / "data/3/data.qpdata", (folder / "project.qpproj").read_bytes()
    original = data.read_bytes()
    human = [item.id for item in QpData.parse(original, source="x").objects()]
    rng, generations = random.Random(7), set()
    for number in range(KILLS):
        begun, ready = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                write_for_ever(folder / "project.qpproj", number, ready)
            finally:
                os._exit(1)
        os.close(ready)
        assert os.read(begun, 1) == b"."  # however slow the machine is: it is killed while it writes
        os.close(begun)
        time.sleep(rng.uniform(0.0, 0.12))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = QpData.parse(data.read_bytes(), source="after a kill").objects()
        assert [item.id for item in found if "generation" not in item.metadata] == human
        made = [item.metadata["generation"] for item in found if "generation" in item.metadata]
        assert len(set(made)) <= 1 and len(made) in (0, 40)
        generations |= set(made)
        if (folder / "data/3/data.qpdata.qpkit-backup").exists():
            assert (folder / "data/3/data.qpdata.qpkit-backup").read_bytes() == original
        for file in ("data/3/summary.json", "classifiers/classes.json"):
            assert isinstance(json.loads((folder / file).read_text()), dict)
        assert (folder / "project.qpproj").read_bytes() == project
    assert len(generations) > 20  # the children did write before they were killed


def test_random_damage_is_refused_or_read(shared: Path) -> None:
    """A short run of tests/qupath/fuzz.py; docs/qupath.md has the figures of a long one."""
    outcome = fuzz.run(shared, mutations=1200, seed=int(time.time()) if not os.environ.get("CI") else 5)
    assert outcome.faults == []
    assert all(
        outcome.counts[f"{kind} {end}"] for kind in ("qpdata", "project", "geojson") for end in ("read", "refused")
    )


# Hostile files


def hostile_project(folder: Path, **changes: object) -> Path:
    uri = {"builderType": "uri", "uri": "file:/a.tif", "args": [], "metadata": {}}
    image = {"serverBuilder": uri, "entryID": 1, "imageName": "a", "metadata": {}} | changes
    document = {"version": "0.5.1", "createTimestamp": 1, "modifyTimestamp": 1, "lastID": 1, "images": [image]}
    file = folder / "project.qpproj"
    file.write_text(json.dumps(document))
    return file


@pytest.mark.parametrize("number", ["../../../etc", -1, 1.5, True, [1], None, 10**40])
def test_an_entry_id_cannot_point_out_of_the_project(tmp_path: Path, number: object) -> None:
    try:
        (entry,) = open_project(hostile_project(tmp_path, entryID=number)).entries
    except FormatError:
        return
    assert entry.files.folder.parent == tmp_path / "data" and entry.files.folder.name.isdecimal()
    assert not entry.has_data


def test_a_link_out_of_the_project_is_not_written_through(tmp_path: Path) -> None:
    """data/1/data.qpdata may be a link; what it points to stays as it is."""
    (tmp_path / "mine").mkdir()
    file = hostile_project(tmp_path / "mine")
    secret = tmp_path / "secret.txt"
    secret.write_bytes(b"not yours")
    (tmp_path / "mine/data/1").mkdir(parents=True)
    (tmp_path / "mine/data/1/summary.json").symlink_to(secret)
    (entry,) = open_project(file).entries
    entry.replace_objects(remove=(), add=generation(0))
    assert secret.read_bytes() == b"not yours"


def nested_builder(depth: int) -> dict[str, object]:
    builder: dict[str, object] = {"builderType": "uri", "uri": "file:/a.tif"}
    for _ in range(depth):
        builder = {"builderType": "rotated", "builder": builder, "rotation": "ROTATE_90"}
    return builder


def test_a_server_inside_servers_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        open_project(hostile_project(tmp_path, serverBuilder=nested_builder(300)))
    file = tmp_path / "project.qpproj"
    file.write_text("[" * 100_000)
    with pytest.raises((FormatError, ProjectError)):
        open_project(file)


def test_a_count_of_a_billion_costs_nothing() -> None:
    floats = b"\x75\x72\x00\x02[F" + struct.pack(">qBH", 836686056779680834, 2, 0) + b"\x78\x70"
    start = time.perf_counter()
    with pytest.raises(FormatError, match="1000000000 elements"):
        QpData.parse(MAGIC + floats + struct.pack(">i", 10**9), source="x")
    assert time.perf_counter() - start < 1


def test_a_data_file_that_refers_to_itself_in_a_circle_ends(shared: Path) -> None:
    """A PathClass that is its own parent, lists inside themselves: read or refused, never for ever."""
    content = (shared / "fixtures/qupath/v0.5.1/project/data/2/data.qpdata").read_bytes()
    start = time.perf_counter()
    places = [k for k in range(len(content) - 5) if content[k : k + 3] == b"\x71\x00\x7e"]
    rng = random.Random(3)
    for _ in range(300):
        made = bytearray(content)
        for place in rng.sample(places, 3):
            made[place + 3 : place + 5] = struct.pack(">H", rng.randrange(len(places) * 2))
        try:
            fuzz.read_qpdata(bytes(made))
        except FormatError:
            continue
    assert time.perf_counter() - start < 60
