"""Recipes: every shipped one parses, every fault is named."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from qpkit.errors import ConfigError
from qpkit_train.config import RECIPES, list_recipes, load_recipe, recipe_from_builtins
from qpkit_train.settings import AugmentConfig


@pytest.mark.parametrize("name", list_recipes())
def test_every_shipped_recipe_parses_and_is_called_like_its_file(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert (RECIPES / f"{name}.toml").read_text().startswith("# ")


def test_the_published_pipeline_is_shipped_as_published() -> None:
    recipe = load_recipe("bracs-unet")
    assert (recipe.loss.terms, recipe.optim.name, recipe.data.batch_size) == ("bce", "adam", 16)
    assert (recipe.sampler.ratio, recipe.augment.hflip, recipe.augment.vflip) == ([1, 3], 0.5, 0.5)


def test_all_faults_of_a_recipe_come_in_one_error(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('name = "own"\ncolour = 1\n[optim]\nlearning_rate = 1\nepochs = "many"\n[data]\nbatchsize = 3\n')
    with pytest.raises(ConfigError) as caught:
        load_recipe(str(path), ["augment.hflips=0.2", "oops"])
    message = str(caught.value)
    for part in ("colour", "optim.learning_rate", "optim.epochs", "data.batchsize", "augment.hflips", "'oops'"):
        assert part in message
    assert "did you mean 'batch_size'" in message


@pytest.mark.parametrize(
    "override",
    [
        "optim.lr=0",
        "optim.epochs=0",
        "data.batch_size=0",
        "data.crop_px=5",
        "augment.hflip=2",
        "augment.rotate=181",
        "augment.scale=-1",
        "augment.elastic_px=20",
        "augment.elastic_cell_px=2",
        "augment.clahe=0.5",
        "augment.blur_px=nan",
        "augment.noise_p=1.5",
        "sampler.ratio=[1]",
        "sampler.ratio=[0, 1]",
        "sampler.ratio={background = 1}",
        "optim.schedule=step",
        "loss.terms=hinge",
        "precision=64",
        "seed=-1",
        "model=3",
    ],
)
def test_values_out_of_range_are_refused_by_name(override: str) -> None:
    with pytest.raises(ConfigError, match=override.partition("=")[0].partition(".")[2] or override.partition("=")[0]):
        load_recipe("unet-resnet18", [override])


def test_overrides_are_toml_or_plain_text() -> None:
    recipe = load_recipe(
        "unet-resnet18", ["optim.lr=3e-4", "model.encoder=resnet50", "sampler.ratio={Lesion=1, background=2.5}"]
    )
    assert (recipe.optim.lr, recipe.model.encoder) == (3e-4, "resnet50")
    assert recipe.sampler.ratio == {"Lesion": 1, "background": 2.5}


def test_the_training_page_names_every_random_change_with_values_that_are_allowed() -> None:
    page = (Path(__file__).parents[2] / "docs/training.md").read_text(encoding="utf-8")
    block = next(text for text in re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL) if "[augment]" in text)
    tables = tomllib.loads(block)
    assert set(tables["augment"]) == set(AugmentConfig.__struct_fields__)
    recipe_from_builtins({"name": "page", **tables}, source="docs/training.md")


def test_a_recipe_survives_run_json() -> None:
    recipe = load_recipe("fpn-resnet34", ["sampler.ratio={Lesion=1}"])
    text = msgspec.json.encode(recipe)
    assert recipe_from_builtins(msgspec.json.decode(text), source="run.json") == recipe


def test_an_unknown_recipe_is_refused_with_the_close_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'unet-resnet18'"):
        load_recipe("unet-resnet81")


def test_neither_the_package_nor_its_settings_import_torch() -> None:
    code = "import sys, qpkit_train, qpkit_train.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
