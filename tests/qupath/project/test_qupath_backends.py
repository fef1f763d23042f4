"""One door, two ways behind it: the same tests through qpkit's own code and through a real QuPath by paquo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import fake_paquo
import pytest
import shapely
from qupath_files import oracle

from qpkit.cli import main
from qpkit.core.annotation import Annotation, PathClass
from qpkit.errors import ConfigError, FormatError, MissingExtraError
from qpkit.qupath import Entry, open_project
from qpkit.qupath.project.backend import use_backend
from qpkit.qupath.project.paquo_backend import PaquoEntry, require_paquo


@pytest.fixture(params=["native", "faked paquo", pytest.param("paquo", marks=pytest.mark.qupath)])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "native":
        with use_backend("native"):
            yield "native"
        return
    if request.param == "faked paquo":
        with fake_paquo.installed(), use_backend("paquo"):
            yield "paquo"
        return
    try:
        require_paquo()
    except MissingExtraError as err:
        pytest.skip(str(err))
    with use_backend("paquo"):
        yield "paquo"


def entry_of(folder: Path, number: int) -> Entry:
    return next(item for item in open_project(folder).entries if item.id == number)


@pytest.mark.parametrize("number", [2, 3])
def test_objects_are_what_qupath_says(
    backend: str, project_copy: Callable[[str], Path], shared: Path, number: int
) -> None:
    entry = entry_of(project_copy("v0.5.1"), number)
    assert isinstance(entry, PaquoEntry) == (backend == "paquo")
    expected = oracle(shared / f"fixtures/qupath/v0.5.1/expected/entry-{number}.oracle.geojson")["features"]
    found = entry.objects()
    assert len(found) == len(expected)
    for ours, feature in zip(found, expected, strict=True):
        theirs = feature["oracle"]
        assert (ours.id, ours.kind, ours.name, ours.class_name, ours.parent) == (
            theirs["id"],
            theirs["kind"],
            theirs.get("name"),
            theirs.get("class"),
            theirs.get("parentIndex"),
        )
        assert ours.geometry.area == pytest.approx(theirs["roi"]["area"], rel=5e-3, abs=1e-6)


def new_objects() -> list[Annotation]:
    return [
        Annotation(geometry=shapely.box(k, 10, k + 5, 20), path_class=PathClass(("Tumor",), -5), metadata={"k": "v"})
        for k in range(3)
    ]


def test_objects_are_replaced_and_the_first_file_is_kept(backend: str, project_copy: Callable[[str], Path]) -> None:
    folder = project_copy("v0.5.1")
    entry = entry_of(folder, 2)
    original = entry.files.data.read_bytes()
    before = entry.objects()
    gone = str(before[0].id)
    entry.replace_objects(remove=[gone, "not there"], add=new_objects())
    after = entry_of(folder, 2).objects()
    assert [item.id for item in after[: len(before) - 1]] == [item.id for item in before if item.id != gone]
    assert [item.class_name for item in after[-3:]] == ["Tumor"] * 3
    assert [shapely.equals(a.geometry, b.geometry) for a, b in zip(after[-3:], new_objects(), strict=True)] == [
        True
    ] * 3
    assert entry.files.backup.read_bytes() == original
    with use_backend("native"):
        assert [item.id for item in entry_of(folder, 2).objects()] == [item.id for item in after]


def test_what_paquo_cannot_do_is_said(project_copy: Callable[[str], Path]) -> None:
    folder = project_copy("v0.5.1")
    with fake_paquo.installed(), use_backend("paquo"):
        entry = entry_of(folder, 3)
        before = entry.files.data.read_bytes()
        with pytest.raises(FormatError, match="cannot make a cell"):
            entry.replace_objects(remove=(), add=[Annotation(geometry=shapely.box(0, 0, 1, 1), kind="cell")])
        with pytest.raises(ConfigError, match="data file itself"):
            entry.read()
        with pytest.raises(ConfigError, match="data file itself"):
            entry.edit(lambda data: data.remove([0]))
    assert entry.files.data.read_bytes() == before


def test_a_backend_that_is_not_there_is_one_line(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--backend", "banana", "info", str(study)])
    assert end.value.code == 1 and capsys.readouterr().err.count("\n") == 1
    try:
        require_paquo()
    except MissingExtraError:
        with pytest.raises(SystemExit) as end:
            main(["--backend", "paquo", "info", str(study)])
        assert end.value.code == 1
        assert "paquo" in capsys.readouterr().err
    with use_backend("native"):
        assert type(open_project(study).entries[0]) is Entry


def test_native_never_imports_java(study: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from qpkit.qupath import open_project; "
        f"[entry.objects() for entry in open_project({str(study)!r}).entries]; "
        "sys.exit(any(name.startswith(('paquo', 'jpype')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
