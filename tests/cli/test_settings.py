"""Settings have one definition: the command line, Python and the workflow have the same ones."""

from __future__ import annotations

import inspect
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from qpkit.cli.shared.flags import with_options
from qpkit.errors import ConfigError
from qpkit.report.pages.augmentations import AugmentedSettings
from qpkit.settings import Range, Settings, fields_of
from qpkit.workflows.convert.settings import ConvertSettings
from qpkit.workflows.doctor.project import DoctorSettings
from qpkit.workflows.edit import Change, Selection
from qpkit.workflows.evaluate.settings import EvaluateSettings
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.folders.settings import FolderSettings
from qpkit.workflows.imports.settings import ImportSettings
from qpkit.workflows.inputs.settings import SlideSettings
from qpkit.workflows.project import ImageSettings
from qpkit.workflows.tables.split_settings import SplitSettings
from qpkit_train.inference.settings import PredictSettings

KINDS: tuple[type[Settings], ...] = (
    AugmentedSettings, ConvertSettings, DoctorSettings, EvaluateSettings, ExportSettings, FolderSettings, ImageSettings,
    ImportSettings, PredictSettings, Selection, SlideSettings, SplitSettings,
)  # fmt: skip


def parameters(kind: type[Settings]) -> dict[str, Any]:
    def command(*, settings: kind) -> None: ...  # type: ignore[valid-type]

    command.__annotations__["settings"] = kind
    return {name: item.default for name, item in inspect.signature(with_options(command)).parameters.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_user_does_not_say_is_what_python_does_not_say(kind: type[Settings]) -> None:
    made = []

    def command(*, settings: kind) -> None:  # type: ignore[valid-type]
        made.append(settings)

    command.__annotations__["settings"] = kind
    with_options(command)(**{name: option.default for name, option in parameters(kind).items()})
    assert made == [kind()]


@pytest.mark.parametrize("kind", (*KINDS, Change))
def test_every_setting_is_an_option_with_help(kind: type[Settings]) -> None:
    options = parameters(kind)
    assert list(options) == [field.name for field in fields_of(kind)]
    for field in fields_of(kind):
        assert len(field.help) > 5, field.name
        assert options[field.name].help == field.help
        assert field.range is None or field.default is None or field.range.holds(field.default)


def test_texts_are_read_and_values_taken_as_they_are() -> None:
    read = ExportSettings.of(context="1,4", tissue="otsu", fractions="1:1:0", tile_size=256, mpp=0.5)
    assert (read.context, str(read.tissue), read.fractions[2], read.tile_size, read.mpp) == (
        (1, 4),
        "otsu",
        0,
        256,
        0.5,
    )
    assert read == ExportSettings(context=(1, 4), tissue=read.tissue, fractions=read.fractions, tile_size=256, mpp=0.5)
    assert ConvertSettings.of(image="a.svs", size="30x40").image == Path("a.svs")
    with pytest.raises(ConfigError, match=r"--mpp 'fine': has to be a positive number"):
        ExportSettings(mpp="fine")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no 'tile'"):
        ExportSettings.of(tile=3)


@pytest.mark.parametrize(
    ("kind", "said", "value"),
    [
        (ExportSettings, {"context": "1,4"}, (1, 4)),
        (ExportSettings, {"tile_size": np.int64(256)}, 256),
        (ExportSettings, {"mpp": np.float32(0.5)}, 0.5),
        (ExportSettings, {"fractions": [8, 1, 1]}, (8.0, 1.0, 1.0)),
        (ConvertSettings, {"labels": "labels.toml"}, Path("labels.toml")),
        (ConvertSettings, {"entries": "P4 test.svs"}, ("P4 test.svs",)),
        (DoctorSettings, {"search": "slides"}, (Path("slides"),)),
        (DoctorSettings, {"search": ["slides", Path("more")]}, (Path("slides"), Path("more"))),
        (SlideSettings, {"where": "Split=test"}, {"Split": "test"}),
        (Selection, {"classes": "Tumor"}, ("Tumor",)),
    ],
)
def test_python_may_say_what_the_command_line_says(kind: type[Settings], said: dict[str, Any], value: Any) -> None:
    (name,) = said
    for made in (kind(**said), kind.of(**said)):
        found = getattr(made, name)
        assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "said", "complaint"),
    [
        (ExportSettings, {"labels": 3}, "--labels 3: has to be a LabelMap"),
        (ExportSettings, {"split": {}}, "--split {}: has to be a SplitRule"),
        (ConvertSettings, {"image": 3}, "--image 3: has to be a path"),
        (ConvertSettings, {"entries": 3}, "--entry 3: has to be a tuple"),
        (SlideSettings, {"where": 3}, "--where 3: has to be a Mapping"),
        (ImportSettings, {"append": "no"}, "--append 'no': has to be True or False"),
        (ExportSettings, {"mpp": True}, "--mpp True: has to be a positive number"),
        (ExportSettings, {"tile_size": 256.5}, "--tile-size 256.5: has to be a whole number"),
    ],
)
def test_a_value_of_another_kind_is_one_line(kind: type[Settings], said: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        kind(**said)
    assert str(caught.value).startswith(complaint)


def test_whole_numbers_and_floats_are_written_as_one() -> None:
    """An export from Python is the one of the command line, so its parts and its resumption fit."""
    whole = ExportSettings(mpp=4, fractions=(8, 1, 1))
    assert repr(whole) == repr(ExportSettings(mpp=4.0, fractions=(8.0, 1.0, 1.0))) == repr(ExportSettings.of(mpp=4.0))
    assert json.dumps(whole.to_builtins()) == json.dumps(ExportSettings.of(mpp=4.0, fractions="8:1:1").to_builtins())
    with pytest.raises(ConfigError, match="--mpp"):
        ExportSettings(mpp=10**400)


def test_all_faults_are_named_together() -> None:
    with pytest.raises(ConfigError, match=r"--overlap -1: has to be 0 or more; .*--store 'x': has to be one of files"):
        ExportSettings(overlap=-1, store="x")  # type: ignore[arg-type]


@given(st.floats(), st.floats(-10, 10), st.floats(0, 10), st.booleans(), st.booleans())
def test_a_range_holds_what_it_says(value: float, low: float, width: float, open_low: bool, open_high: bool) -> None:
    ends = {"above" if open_low else "at_least": low, "below" if open_high else "at_most": low + width}
    holds = Range(**ends).holds(value)
    assert holds == (
        math.isfinite(value)
        and (value > low if open_low else value >= low)
        and (value < low + width if open_high else value <= low + width)
    )


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ({"above": 0}, "a positive number"),
        ({"at_least": 2}, "2 or more"),
        ({"at_least": 0, "at_most": 1}, "in 0..1"),
        ({"above": 0, "at_most": 1}, "in 0..1, not 0"),
        ({"at_least": 0, "below": 1}, "in 0..1, not 1"),
        ({"above": 3}, "above 3"),
    ],
)
def test_a_range_says_what_it_is(ends: dict[str, float], text: str) -> None:
    assert str(Range(**ends)) == text


def test_a_command_without_settings_keeps_its_signature() -> None:
    def command(name: str = typer.Argument(...)) -> None: ...

    assert list(inspect.signature(with_options(command)).parameters) == ["name"]
