"""Figures show every class name as it is, and any number of classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from qpkit.core.labels import LabelClass, LabelMap
from qpkit.ops.scores.confusion import ClassScore, class_scores
from qpkit.ops.scores.probability_levels import ReliabilityBin
from qpkit.report.figures.class_fractions import Bar, draw_class_fractions
from qpkit.report.figures.names import add_legend, plain_text
from qpkit.report.figures.overlays import Panel, save_overlay
from qpkit.report.figures.scores import draw_confusion, draw_thresholds
from qpkit.report.figures.training import draw_curves, draw_scores_over_thresholds

ODD = (r"$\bad{$", "$a$ and $b", "_hidden", "__", "\u540d\u524d", "long " * 30, "<b>", "a%b&c#d")
MANY = tuple(f"class {i}" for i in range(40))


@pytest.mark.parametrize("names", [ODD, MANY], ids=["odd names", "forty classes"])
@pytest.mark.parametrize(
    "draw",
    [
        lambda names: draw_confusion([[1] * len(names)] * len(names), [[0.5] * len(names)] * len(names), names),
        lambda names: draw_curves(_history(names), names, best_epoch=2),
        lambda names: draw_scores_over_thresholds({name: _scores() for name in names}),
        lambda names: draw_thresholds(
            {name: _scores() for name in names},
            {name: [ReliabilityBin(low=0.0, high=0.1, pixels=5, predicted=0.05, true=0.5)] for name in names},
        ),
        lambda names: draw_class_fractions([_bar(names)], [_bar(names)], _labels(names)),
    ],
    ids=["confusion", "curves", "scores", "thresholds", "shares"],
)
def test_any_class_name_and_any_number_of_classes_is_drawn(
    draw: Callable[[tuple[str, ...]], bytes], names: tuple[str, ...]
) -> None:
    assert draw(names).startswith(b"\x89PNG")


def test_an_overlay_takes_odd_names(tmp_path: Path) -> None:
    mask = np.ones((20, 20), np.uint8)
    panel = Panel(title=r"$\bad{$.svs", image=np.zeros((20, 20, 3), np.uint8), truth=mask, predicted=mask)
    save_overlay([panel], _labels(ODD), tmp_path / "a.png", zooms=[])
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_legend_names_what_begins_with_an_underscore_and_counts_what_it_leaves_out() -> None:
    figure = Figure()
    few, many = figure.subplots(1, 2)
    few.plot([0, 1], label=plain_text("_hidden"))
    for name in MANY:
        many.plot([0, 1], label=plain_text(name))
    add_legend(few)
    add_legend(many)
    assert [text.get_text().strip() for text in few.get_legend().get_texts()] == ["_hidden"]
    assert len(many.get_legend().get_texts()) == 12
    assert many.get_legend().get_title().get_text() == "and 28 more"


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="$\\_{}^ab \u00e9", min_size=1, max_size=12))
def test_no_name_is_read_as_a_formula(name: str) -> None:
    figure = Figure()
    FigureCanvasAgg(figure)
    text = figure.text(0, 0, plain_text(name))
    shown, is_math = text._preprocess_math(text.get_text())
    assert (shown.strip(), bool(is_math)) == (name.strip(), False)


def _history(names: tuple[str, ...]) -> list[dict[str, object]]:
    row = {"lr": 0.1, "train_loss": 1.0, "val_loss": None, "mean_dice": 0.5, "dice": dict.fromkeys(names, 0.5)}
    return [{"epoch": epoch, **row} for epoch in (1, 2)]


def _scores() -> list[ClassScore]:
    return [class_scores(np.array([[8, 2], [1, 5]]), ("a", "b"))[1]] * 256


def _labels(names: tuple[str, ...]) -> LabelMap:
    return LabelMap(classes=tuple(LabelClass(name, i + 1, (name,)) for i, name in enumerate(names)))


def _bar(names: tuple[str, ...]) -> Bar:
    return Bar(name="train", split="train", tiles=3, pixels={i + 1: 10 for i in range(len(names))})
