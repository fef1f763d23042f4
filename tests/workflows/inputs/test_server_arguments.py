"""Arguments of an image, read as QuPath reads them."""

from __future__ import annotations

import pytest

from qpkit.qupath.project.images.server import parse_server
from qpkit.qupath.project.writer import BIOFORMATS, OPENSLIDE
from qpkit.slides import AS_IN_FILE, EMBEDDED, Colors
from qpkit.workflows.inputs.server_arguments import ServerArguments, arguments_of

BY_ITS_OWN = Colors(icc=EMBEDDED)


def read(*args: str, provider: str | None = OPENSLIDE) -> ServerArguments:
    return arguments_of(parse_server({"builderType": "uri", "providerClassName": provider, "args": list(args)}, "here"))


@pytest.mark.parametrize(
    ("args", "colors"),
    [
        ((), AS_IN_FILE),
        (("--icc-profile",), BY_ITS_OWN),
        (("--no-crop", "--icc-profile", "--series", "0"), BY_ITS_OWN),
        (("--icc-profile", "--icc-profile-source", "/a.icc"), Colors(icc="/a.icc")),
        (("--icc-profile-dest", "/b.icc", "--icc-profile"), Colors(icc=EMBEDDED, target="/b.icc")),
        (("--icc-profile", "--icc-profile-dest"), BY_ITS_OWN),  # QuPath: "Unmatched arg key will be ignored"
        (("--background-color", "black"), Colors(background=(0, 0, 0))),
        (("--Background-Color=RED",), Colors(background=(255, 0, 0))),
        (("--background-color", "#0a0B0c"), Colors(background=(10, 11, 12))),
        (("--background-color", "ff"), Colors(background=(0, 0, 255))),  # Integer.decode("#ff")
        (("--background-color", "12345678"), Colors(background=(0x34, 0x56, 0x78))),
        (("--icc-profile", "--background-color=green"), Colors(icc=EMBEDDED, background=(0, 255, 0))),
    ],
)
def test_colors_are_those_that_qupath_reads(args: tuple[str, ...], colors: Colors) -> None:
    found = read(*args)
    assert found.colors == colors
    assert found.unknown == found.refused == found.passed_over == ()
    assert read(*args, provider=None).colors == colors


def test_what_qupath_passes_over_changes_nothing_and_is_named() -> None:
    assert read("--icc-profile-source", "a.icc") == ServerArguments(passed_over=("--icc-profile-source a.icc",))
    args = ("--icc-profile", "--background-color", "black")
    assert read(*args, provider=BIOFORMATS) == ServerArguments(
        passed_over=("--icc-profile", "--background-color black")
    )


def test_other_arguments_are_named_or_refused() -> None:
    assert read("--gamma", "2", "--bright").unknown == ("--gamma 2", "--bright")
    assert read("--icc-profile=true", "--ICC-PROFILE").unknown == ("--icc-profile=true", "--ICC-PROFILE")
    assert read("--background-color", "mauve").unknown == ("--background-color mauve",)
    assert read("--background-color", "#ffffffff").unknown == ("--background-color #ffffffff",)
    assert read("--background-color").unknown == ("--background-color",)
    assert read("--dims", "XYZCT", provider=BIOFORMATS).refused == ("--dims XYZCT",)
    assert read("--classname", "some.Builder") == ServerArguments()


def test_series_and_crop_are_read() -> None:
    assert read("--series", "3", "--No-Crop") == ServerArguments(series=3, to_bounds=False)
    assert read("--series", "last").series is None
    assert read("--series").series is None
