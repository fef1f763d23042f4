"""How an entry's image is opened, and which slides a run has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from qpkit.core.labels import label_map_to_builtins
from qpkit.core.tiles import SlideInfo
from qpkit.dataset import write_tile_set
from qpkit.errors import ConfigError, FormatError, ProjectError
from qpkit.predictions import PredictionSet, SlidePrediction
from qpkit.qupath import Entry
from qpkit.qupath.project.entry_files import EntryFiles, Stamp
from qpkit.qupath.project.images.server import parse_server
from qpkit.slides import Crop, Flip, SlideSource, Step, Turn
from qpkit.slides.views import View
from qpkit.workflows.inputs import training_slides
from qpkit.workflows.inputs.entry_view import entry_source, is_opened_specially, unsupported_view
from qpkit.workflows.inputs.slides import SlideInput
from qpkit.workflows.inputs.tissue_rule import Glass, TissueRule
from table_of_tiles import LABELS, tile

QUARTERS = ("ROTATE_NONE", "ROTATE_90", "ROTATE_180", "ROTATE_270")
FLIPS = {"NONE": (False, False), "HORIZONTAL": (True, False), "VERTICAL": (False, True), "BOTH": (True, True)}


def entry_of(builder: Mapping[str, Any], folder: Path = Path("/p")) -> Entry:
    project = folder / "project.qpproj"
    return Entry(
        id=7, name="mine", metadata={}, tags=(), server=parse_server(builder, "here"), description=None,
        project_path=project, project_uri=None, files=EntryFiles(folder / "data/7", project, Stamp(-1, -1)),
    )  # fmt: skip


def file_builder(uri: str = "file:/a.tif", args: Sequence[str] = ()) -> dict[str, Any]:
    return {"builderType": "uri", "uri": uri, "args": list(args)}


def wrapped(builder: Mapping[str, Any], step: Step) -> dict[str, Any]:
    """The step as QuPath writes it."""
    if isinstance(step, Turn):
        return {"builderType": "rotated", "rotation": QUARTERS[step.quarters % 4], "builder": builder}
    if isinstance(step, Flip):
        names = {value: name for name, value in FLIPS.items()}
        return {"builderType": "flipped", "flip": names[step.across, step.down], "builder": builder}
    region = {"x": step.x, "y": step.y, "width": step.width, "height": step.height}
    return {"builderType": "cropped", "region": region, "builder": builder}


steps = st.lists(
    st.builds(Turn, st.integers(0, 3))
    | st.builds(Flip, st.booleans(), st.booleans())
    | st.builds(Crop, st.integers(0, 9), st.integers(0, 9), st.integers(1, 9), st.integers(1, 9)),
    max_size=4,
)


@given(steps)
def test_what_qupath_wraps_around_an_image_is_done_from_the_inside_out(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[Step]
) -> None:
    image = tmp_path_factory.getbasetemp() / "a b.tif"
    image.touch()
    builder = file_builder(image.as_uri())
    for step in wanted:
        builder = wrapped(builder, step)
    source = entry_source(entry_of(builder), reader="tiff")
    assert source.steps == tuple(wanted)
    assert (source.name, source.path, source.entry, source.reader) == ("mine", image, "7", "tiff")
    view = View(x=0, y=0, width=30, height=20)
    for step in wanted:
        view = view.then(step)
    again = View(x=0, y=0, width=30, height=20)
    for step in source.steps:
        again = again.then(step)
    assert again == view


@pytest.mark.parametrize(
    ("builder", "reason"),
    [
        (file_builder(), ""),
        (file_builder("file:/a.ome.tif", ["--series", "2"]), ""),
        (file_builder("file:/a.svs", ["--series", "0"]), ""),
        (file_builder("file:/a.svs", ["--series", "2"]), "opens its image with --series 2"),
        (file_builder("file:/a.ome.tif", ["--series", "x"]), "opens its image with --series x"),
        (file_builder("file:/a.ome.tif", ["--series"]), "opens its image with --series"),
        ({"builderType": "pyramidize", "builder": file_builder()}, "shows its image pyramidize"),
        ({"builderType": "rotated", "rotation": "ROTATE_45", "builder": file_builder()}, "shows its image rotated"),
        ({"builderType": "cropped", "region": {"x": 1}, "builder": file_builder()}, "shows its image cropped"),
    ],
)
def test_a_view_that_qpkit_cannot_show_is_named(builder: dict[str, Any], reason: str) -> None:
    entry = entry_of(builder)
    assert unsupported_view(entry) == reason
    if reason:
        with pytest.raises(ProjectError, match=f"entry 'mine': QuPath {reason}"):
            entry_source(entry)


@pytest.mark.parametrize(
    ("args", "series", "to_bounds"), [([], 0, True), (["--SERIES", "3"], 3, True), (["--no-crop"], 0, False)]
)
def test_arguments_say_which_image_and_how_much_of_it(
    tmp_path: Path, args: list[str], series: int, to_bounds: bool
) -> None:
    image = tmp_path / "a.ome.tif"
    image.touch()
    entry = entry_of(file_builder(image.as_uri(), args))
    source = entry_source(entry)
    assert (source.series, source.to_bounds) == (series, to_bounds)
    assert is_opened_specially(entry) == (series != 0 or not to_bounds)


# Slides of a run


def tiles_of(root: Path, splits: Mapping[str, Sequence[str]]) -> Path:
    root.mkdir(parents=True)
    rows = [tile(name, n, {}, split=part) for name, parts in splits.items() for n, part in enumerate(parts)]
    write_tile_set(root, rows, {"labels": label_map_to_builtins(LABELS), "mpp": 0.5, "tile_size_px": 100})
    return root


def slide(name: str) -> SlidePrediction:
    return SlidePrediction(name=name, image="", width=1, height=1, downsample=1.0, labels="x.tif")


def predictions(trained: Any) -> PredictionSet:
    return PredictionSet(root=Path(), run="r", model="m", label_map=LABELS, slides=(), info={"trained": trained})


def given_slides(names: Sequence[str]) -> list[SlideInput]:
    return [SlideInput(source=SlideSource(name=n, path=Path(n)), info=SlideInfo(width=1, height=1)) for n in names]


splits = st.dictionaries(
    st.sampled_from("abcd"), st.lists(st.sampled_from(["train", "val", "test"]), min_size=1, max_size=3), min_size=1
)


@given(splits, st.lists(st.sampled_from("abcde"), unique=True))
def test_slides_that_a_run_has_seen_are_told_and_the_others_are_test_slides(
    tmp_path_factory: pytest.TempPathFactory, shared_out: dict[str, list[str]], names: list[str]
) -> None:
    root = tiles_of(tmp_path_factory.mktemp("run") / "tiles", shared_out)
    assert training_slides.splits_of_slides(root) == {name: set(parts) for name, parts in shared_out.items()}
    notes = training_slides.training_notes(predictions({"tiles": {"path": str(root)}}), [slide(n) for n in names])
    seen = {part: [n for n in names if part in shared_out.get(n, [])] for part in ("train", "val")}
    words = {"train": "was trained on", "val": "was chosen (best epoch) on"}
    assert notes == [
        f"the run {words[part]} {', '.join(found)}: the figures of these say nothing about new slides"
        for part, found in seen.items()
        if found
    ]
    unseen = [n for n in names if set(shared_out.get(n, [])) == {"test"}]
    if unseen:
        assert [item.source.name for item in training_slides.test_slides(root, given_slides(names))] == unseen
    else:
        with pytest.raises(ConfigError, match="none of the slides given is a test slide"):
            training_slides.test_slides(root, given_slides(names))


def test_tiles_that_are_gone_are_said_and_predictions_that_name_none_are_silent(tmp_path: Path) -> None:
    for nothing in (None, {}, {"tiles": None}, {"tiles": {"path": ""}}, "x"):
        assert training_slides.training_notes(predictions(nothing), [slide("a")]) == []
    gone = str(tmp_path / "gone")
    (note,) = training_slides.training_notes(predictions({"tiles": {"path": gone}}), [slide("a")])
    assert gone in note and "is not checked" in note
    with pytest.raises(ConfigError, match="so its test slides are not known"):
        training_slides.test_slides(Path(gone), given_slides("a"))
    with pytest.raises(FormatError):
        training_slides.splits_of_slides(Path(gone))


def masked(path: Path) -> Glass:
    info = SlideInfo(width=400, height=300, mpp=0.5)
    return Glass(TissueRule.parse(f"mask:{path}"), name="slide", info=info, thumbnail=np.zeros((30, 40, 3), np.uint8))


@pytest.mark.parametrize("content", [b"", b"P5 8 8 255 cut", b"\x89PNG\r\n\x1a\n"])
def test_a_damaged_tissue_mask_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mask.pgm"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="tissue mask cannot be read"):
        masked(path)


def test_a_tissue_mask_may_be_as_large_as_a_slide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mask.png"
    Image.new("L", (40, 30), 255).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert masked(path).tissue.all()
