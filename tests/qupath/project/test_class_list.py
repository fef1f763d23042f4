"""The class list: adding is idempotent, renaming loses no class, and what qpkit does not know stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qupath_strategies import path_classes

from qpkit.core.annotation import PathClass
from qpkit.errors import FormatError
from qpkit.qupath.project.class_list import add_classes, classes_path, read_classes, rename_classes

some_classes = st.lists(path_classes, max_size=5)


def unlike(classes: list[PathClass]) -> list[PathClass]:
    """The first of each name, as a list is read: without blanks around names."""
    found: dict[tuple[str, ...], PathClass] = {}
    for item in classes:
        names = PathClass.parse(str(item)).names
        found.setdefault(names, PathClass(names, item.color))
    return list(found.values())


@given(some_classes, some_classes)
@settings(max_examples=25)
def test_adding_lists_every_class_once_and_again_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, first: list[PathClass], second: list[PathClass]
) -> None:
    folder = tmp_path_factory.mktemp("classes")
    assert read_classes(folder) == ()
    assert add_classes(folder, first) == len(unlike(first))
    assert add_classes(folder, second) == len(unlike([*first, *second])) - len(unlike(first))
    assert list(read_classes(folder)) == unlike([*first, *second])
    assert classes_path(folder).is_file() == bool(first or second)
    before = classes_path(folder).read_bytes() if first or second else b""
    assert add_classes(folder, [*second, *first]) == 0
    assert not before or classes_path(folder).read_bytes() == before


@given(some_classes)
@settings(max_examples=25)
def test_renaming_back_gives_the_list_that_was_there(
    tmp_path_factory: pytest.TempPathFactory, classes: list[PathClass]
) -> None:
    folder = tmp_path_factory.mktemp("classes")
    add_classes(folder, classes)
    before = read_classes(folder)
    longer = rename_classes(folder, lambda item: PathClass(("X", *item.names)))
    assert longer == len(before)
    assert [item.names for item in read_classes(folder)] == [("X", *item.names) for item in before]
    assert [item.color for item in read_classes(folder)] == [item.color for item in before]
    assert rename_classes(folder, lambda item: PathClass(item.names[1:])) == len(before)
    assert read_classes(folder) == before
    assert rename_classes(folder, lambda item: item) == 0


def test_two_classes_become_one_and_the_first_list_is_kept(tmp_path: Path) -> None:
    path = classes_path(tmp_path)
    path.parent.mkdir()
    records = [
        {"name": "Tumor", "color": -1, "future": True},
        {"name": "Tumour", "color": -2},
        {"name": None, "color": -3},
        {"name": "Stroma", "colorRGB": -4},
    ]
    path.write_text(json.dumps({"pathClasses": records, "version": 9}))
    first = path.read_bytes()
    listed = {str(item): item.color for item in read_classes(tmp_path)}
    assert listed == {"Tumor": -1, "Tumour": -2, "Stroma": -4}

    def british(item: PathClass) -> PathClass:
        return PathClass(("Tumor",)) if item.names == ("Tumour",) else item

    assert rename_classes(tmp_path, british) == 1
    document = json.loads(path.read_text())
    assert document == {"pathClasses": [records[0], records[2], records[3]], "version": 9}
    backup = path.with_name("classes.json.qpkit-backup")
    assert backup.read_bytes() == first
    rename_classes(tmp_path, lambda item: PathClass(("Y", *item.names)))
    assert backup.read_bytes() == first
    assert add_classes(tmp_path, [PathClass(("New",))]) == 1
    assert json.loads(path.read_text())["pathClasses"][-1] == {"name": "New", "color": -8355712}
    assert json.loads(path.read_text())["version"] == 9


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pathClasses": 5}', '{"pathClasses": [5]}', "\xff", "[" * 100_000])
def test_a_damaged_list_is_refused_by_its_name_and_left_alone(tmp_path: Path, text: str) -> None:
    path = classes_path(tmp_path)
    path.parent.mkdir()
    path.write_text(text, encoding="latin-1")
    for use in (read_classes, lambda f: add_classes(f, [PathClass(("A",))]), lambda f: rename_classes(f, lambda c: c)):
        with pytest.raises(FormatError, match=r"classes\.json"):
            use(tmp_path)
    assert path.read_text(encoding="latin-1") == text


@pytest.mark.parametrize("blank", ["", " : ", "\t", "\n", ":\u2003"])
def test_a_class_without_a_name_is_none_and_stays_listed(tmp_path: Path, blank: str) -> None:
    path = classes_path(tmp_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"pathClasses": [{"name": blank, "color": 1}, {"name": "Tumor", "color": -1}]}))
    assert [str(item) for item in read_classes(tmp_path)] == ["Tumor"]
    assert rename_classes(tmp_path, lambda item: PathClass(("X", *item.names))) == 1
    assert [item["name"] for item in json.loads(path.read_text())["pathClasses"]] == [blank, "X: Tumor"]
