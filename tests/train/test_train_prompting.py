"""A network that answers clicks: what it is shown, how it learns, and where it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_tiles import TINY, MakeTiles, tiny_recipe

from qpkit.errors import ConfigError
from qpkit_train.augment.augmenter import Augmenter
from qpkit_train.clicks.discs import Click, click_channels
from qpkit_train.loop import fit
from qpkit_train.models.registry import build_model, load_encoder
from qpkit_train.prompting import Prompting
from qpkit_train.recipe.load import load_recipe
from qpkit_train.recipe.settings import Recipe
from qpkit_train.run_folder.records import read_state
from qpkit_train.run_folder.run import load_run
from qpkit_train.run_folder.weights import read_tensors

NOTHING = torch.zeros(2, 2, 64, 64)


def prompts_recipe(*overrides: str) -> Recipe:
    """prompts-unet-resnet18 cut down to a second or two."""
    return load_recipe("prompts-unet-resnet18", [*TINY, *overrides])


def squares() -> torch.Tensor:
    """(2, 64, 64) targets with a square each and a corner that nobody knows."""
    targets = torch.zeros(2, 64, 64, dtype=torch.uint8)
    targets[0, 10:30, 10:30] = targets[1, 30:60, 20:40] = 1
    targets[:, :6] = 255
    return targets


def centres(channel: torch.Tensor) -> list[tuple[int, int]]:
    """Pixels on which the discs of radius 1 of a channel have their middle."""
    disc = channel.numpy() > 0
    shifts = [np.roll(disc, by, axis) for axis in (0, 1) for by in (-1, 1)]
    return [tuple(place) for place in np.argwhere(disc & np.all(shifts, axis=0)).tolist()]


@pytest.mark.parametrize("step", range(4))
def test_clicks_lie_inside_and_outside_of_the_object_as_their_channels_say(step: int) -> None:
    recipe = prompts_recipe("model.click_px=1", "prompts.clicks=6", "prompts.corrective=2")
    targets = squares()
    pixels = torch.rand(2, 3, 64, 64)
    found = Prompting(recipe, lambda images: NOTHING).clicked(pixels, targets, epoch=1, step=step)
    assert found.shape == (2, 5, 64, 64) and torch.equal(found[:, :3], pixels)
    for row in range(2):
        inside, outside = centres(found[row, 3]), centres(found[row, 4])
        assert inside and all(targets[row][place] == 1 for place in inside)
        assert all(targets[row][place] == 0 for place in outside)


def test_clicks_move_with_the_image() -> None:
    recipe = prompts_recipe("augment.rotate=90", "augment.affine_p=1", "augment.scale=0.3", "augment.elastic_px=4")
    images = torch.zeros(8, 3, 64, 64, dtype=torch.uint8)
    targets = torch.zeros(8, 64, 64, dtype=torch.uint8)
    for row in range(8):  # the landmark is what is asked about
        images[row, :, 8 + 4 * row : 24 + 4 * row, 20:36] = 255
        targets[row, 8 + 4 * row : 24 + 4 * row, 20:36] = 1
    pixels, moved = Augmenter(recipe.augment, seed=0)(images, targets, epoch=0, step=0)
    prompting = Prompting(prompts_recipe("model.click_px=1", "prompts.clicks=1"), lambda _: torch.zeros(8, 2, 64, 64))
    found = prompting.measured(pixels, moved)
    for row in range(8):
        if (moved[row] == 1).any():
            places = centres(found[row, 3])
            assert places and all(pixels[row, 0][place] > 0.5 for place in places)


def test_corrective_clicks_follow_the_network_as_it_is() -> None:
    recipe, targets = prompts_recipe("prompts.measured_clicks=2"), squares()
    answer = torch.zeros(2, 2, 64, 64)
    answer[:, 1] = torch.where(targets == 1, 5.0, -5.0)
    answer[0, 1, 40:61, 40:61] = 5  # too much by 21 x 21 px
    found = Prompting(recipe, lambda images: answer).measured(torch.zeros(2, 3, 64, 64), targets)
    said = click_channels([Click(50.5, 50.5, is_inside=False)], height=64, width=64, radius_px=5)[1] / 255
    np.testing.assert_array_equal(found[0, 4].numpy(), said)
    assert not found[1, 4].any()


def test_the_same_place_in_a_training_gives_the_same_clicks_in_any_number_of_processes() -> None:
    recipe, pixels = prompts_recipe("prompts.clicks=8"), torch.zeros(2, 3, 64, 64)
    prompting = Prompting(recipe, lambda images: torch.zeros(len(images), 2, 64, 64))
    whole, again, other = (prompting.clicked(pixels, squares(), epoch=2, step=step) for step in (5, 5, 6))
    part = prompting.clicked(pixels[1:], squares()[1:], epoch=2, step=5, first=1)
    assert torch.equal(whole, again) and torch.equal(whole[1:], part) and not torch.equal(whole, other)


def test_where_the_object_was_moved_away_nothing_is_known() -> None:
    targets = squares()
    targets[1] = 0
    found = Prompting(prompts_recipe(), lambda images: NOTHING).clicked(
        torch.zeros(2, 3, 64, 64), targets, epoch=0, step=0
    )
    assert (targets[1] == 255).all() and not found[1, 3:].any() and (targets[0] == 1).any()


def test_without_click_px_pixels_stay_as_they_are() -> None:
    pixels = torch.rand(2, 3, 8, 8)
    prompting = Prompting(tiny_recipe(), lambda images: images)
    assert prompting.clicked(pixels, squares(), epoch=0, step=0) is prompting.measured(pixels, squares()) is pixels


def test_a_resumed_training_ends_with_the_bits_of_an_uninterrupted_one(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles(train={1: 4, 3: 3}, val={1: 2})
    recipe = prompts_recipe("augment.rotate=20", "prompts.corrective=2", "data.crop_px=32", "optim.epochs=2")

    def stop(done: int, total: int, text: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    whole = fit(tiles, tmp_path / "whole", recipe)
    with pytest.raises(KeyboardInterrupt):
        fit(tiles, tmp_path / "cut", recipe, on_progress=stop)
    assert fit(tiles, tmp_path / "cut", recipe, resume=True).resumed_from == 1
    ended = [read_state(tmp_path / name, run=whole.run) for name in ("whole", "cut")]
    assert ended[0] is not None and ended[1] is not None and ended[0].history == ended[1].history
    weights = [read_tensors(tmp_path / name / ended[0].model, run=whole.run) for name in ("whole", "cut")]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    run = load_run(tmp_path / "whole")
    assert run.card().click_px == 5 and run.card().channels == 5 and not run.file.thresholds
    assert [score.name for score in whole.scores] == ["background", "object"]


def test_an_encoder_takes_published_weights_for_its_colours_and_keeps_its_own_for_clicks() -> None:
    plain, asked = (build_model(make().model, 2) for make in (tiny_recipe, prompts_recipe))
    before = asked.encoder.conv1.weight.clone()  # type: ignore[union-attr]
    load_encoder(asked.encoder, plain.encoder.state_dict(), source="a run")  # type: ignore[union-attr, arg-type]
    after = asked.encoder.conv1.weight  # type: ignore[union-attr]
    assert torch.equal(after[:, :3], plain.encoder.conv1.weight)  # type: ignore[union-attr, index]
    assert torch.equal(after[:, 3:], before[:, 3:])  # type: ignore[index]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("sampler.ratio=[1, 3]", "sampler.ratio"),
        ("semi.weight=1.0", "semi.weight"),
        ("model.context=[4]", "model.context"),
        ("loss.class_weights=balanced", "loss.class_weights"),
        ("prompts.clicks=0", "prompts.clicks"),
    ],
)
def test_what_does_not_go_with_clicks_is_said(settings: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prompts_recipe(settings)


def test_a_network_that_takes_no_clicks_is_named() -> None:
    config = load_recipe("bcss-unet", ["model.click_px=5", "sampler.ratio=[1, 0]", "loss.class_weights=none"]).model
    with pytest.raises(ConfigError, match="takes no clicks"):
        build_model(config, 2)
