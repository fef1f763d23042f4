"""Settings that decide nothing are named, with what would have to change, and the shipped recipes have none."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpkit_train.loop import fit
from qpkit_train.recipe.load import list_recipes, load_recipe
from qpkit_train.recipe.unused import unused_settings
from tests.train.tiny_tiles import MakeTiles, tiny_recipe

RECIPE = "unet-resnet18"


@pytest.mark.parametrize(
    ("setting", "name", "because", "needed"),
    [
        ('augment.style_from="pictures"', "augment.style_from", "augment.style is 0", "augment.style=0.5"),
        ("augment.affine_p=0.9", "augment.affine_p", "augment.shift is 0", "augment.rotate=9"),
        ("loss.focal_gamma=3", "loss.focal_gamma", "loss.terms has no focal", 'loss.terms="ce+focal"'),
        ("optim.poly_power=2", "optim.poly_power", "optim.schedule is cosine", 'optim.schedule="poly"'),
        ("optim.milestones=[3]", "optim.milestones", "optim.schedule is cosine", 'optim.schedule="step"'),
        ("optim.momentum=0.5", "optim.momentum", "optim.name is adamw", 'optim.name="sgd"'),
        ("semi.threshold=0.5", "semi.threshold", "semi.weight is 0", "semi.weight=1"),
        ("prompts.clicks=2", "prompts.clicks", "takes no clicks", "model.click_px=9"),
    ],
)
def test_a_setting_without_effect_is_named_until_what_it_needs_is_on(
    setting: str, name: str, because: str, needed: str
) -> None:
    (said,) = unused_settings(load_recipe(RECIPE, [setting]))
    assert said.startswith(f"{name}: without effect, ") and because in said and len(said) < 200
    assert unused_settings(load_recipe(RECIPE, [setting, needed, "sampler.ratio=[1,0]"])) == []


@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipes_say_nothing_that_decides_nothing(name: str) -> None:
    assert unused_settings(load_recipe(name)) == []


def test_a_training_says_so_before_its_first_step_and_in_its_report(make_tiles: MakeTiles, tmp_path: Path) -> None:
    said: list[str] = []
    recipe = tiny_recipe("optim.epochs=1", "augment.glass_p=0.9")
    report = fit(make_tiles(), tmp_path / "run", recipe, on_note=said.append)
    assert said[0] == report.notes[0] == "augment.glass_p: without effect, augment.glass_px is 0"
