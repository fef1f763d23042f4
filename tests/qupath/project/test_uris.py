from __future__ import annotations

from pathlib import PurePath, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpkit.errors import FormatError
from qpkit.qupath.project.images.uris import file_path, file_uri, rebased

POSIX, WINDOWS = PurePosixPath, PureWindowsPath
_PART = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\\\0"), min_size=1, max_size=8).filter(
    lambda part: part not in (".", "..")
)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:/a/b.tif", POSIX("/a/b.tif")),
        ("file:///a/b.tif", POSIX("/a/b.tif")),
        ("FILE:///a/b.tif", POSIX("/a/b.tif")),
        ("file://localhost/a/b.tif", POSIX("/a/b.tif")),
        ("file:///Slide%20archive%20(2023)/%C3%BC%20%25.svs", POSIX("/Slide archive (2023)/ü %.svs")),
        ("file:/C:/data/a%20b.svs", WINDOWS("C:/data/a b.svs")),
        ("file:///D:/a.svs", WINDOWS("D:/a.svs")),
        ("file://server/share/a.svs", WINDOWS("//server/share/a.svs")),
        ("file:////server/share/a.svs", WINDOWS("//server/share/a.svs")),
        ("file:/a/b.tif#series=1", POSIX("/a/b.tif")),
    ],
)
def test_every_form_of_a_file_uri_is_read(uri: str, path: PurePath) -> None:
    found = file_path(uri)
    assert found == path and type(found) is type(path)


def test_other_schemes_are_no_files() -> None:
    assert file_path("https://omero.example.org/webclient/?show=image-1") is None


@pytest.mark.parametrize("uri", ["/a/b.tif", "b.tif", "file:/a b.tif", "file:\\a", "file:/a%2", "file:/a%ff", ""])
def test_what_qupath_cannot_load_is_refused(uri: str) -> None:
    with pytest.raises(FormatError):
        file_path(uri)


def test_relative_paths_have_no_uri() -> None:
    with pytest.raises(FormatError, match="absolute"):
        file_uri(POSIX("a/b"))


@given(st.lists(_PART, max_size=5))
def test_posix_paths_survive(parts: list[str]) -> None:
    path = POSIX("/x", *parts)
    uri = file_uri(path)
    assert uri.isascii() and uri.startswith("file:///") and file_path(uri) == path


@given(st.lists(_PART.filter(lambda p: not set(p) & set(':<>"|?*')), max_size=5), st.sampled_from(["C:/", "//srv/sh/"]))
def test_windows_paths_survive(parts: list[str], anchor: str) -> None:
    path = WINDOWS(anchor, *parts)
    assert str(file_path(file_uri(path))) == str(path)


@pytest.mark.parametrize(
    ("path", "old", "new", "moved"),
    [
        (POSIX("/old/p/img/a.tif"), POSIX("/old/p"), POSIX("/new/q"), POSIX("/new/q/img/a.tif")),
        (POSIX("/old/slides/a.tif"), POSIX("/old/p"), POSIX("/new/q"), POSIX("/new/slides/a.tif")),
        (WINDOWS("C:/old/slides/a.tif"), WINDOWS("c:/OLD/p"), POSIX("/new/q"), POSIX("/new/slides/a.tif")),
        (WINDOWS("//s/sh/img/a.tif"), WINDOWS("//s/sh/p"), WINDOWS("D:/x/p"), WINDOWS("D:/x/img/a.tif")),
        (WINDOWS("D:/img/a.tif"), WINDOWS("C:/p"), POSIX("/new/q"), None),
        (POSIX("/img/a.tif"), POSIX("/a/b/c"), POSIX("/q"), None),
        (POSIX("/img/a.tif"), WINDOWS("C:/p"), POSIX("/q"), None),
    ],
)
def test_an_image_moves_along_with_its_project(
    path: PurePath, old: PurePath, new: PurePath, moved: PurePath | None
) -> None:
    assert rebased(path, old, new) == moved
