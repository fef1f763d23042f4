"""Recipes: every shipped one parses, every fault is named."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Literal, get_args, get_origin

import msgspec
import pytest
from tiny_tiles import MakeTiles

import qpkit
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.errors import ConfigError
from qpkit.settings import bounds_of
from qpkit_train.loop import fit
from qpkit_train.losses.terms import loss_terms
from qpkit_train.recipe.load import RECIPES, list_recipes, load_recipe, recipe_from_builtins
from qpkit_train.recipe.settings import AugmentConfig, Recipe
from qpkit_train.run_folder.initial_network import initial_network
from qpkit_train.run_folder.records import run_id
from qpkit_train.run_folder.run import load_run
from qpkit_train.schedule import learning_rate
from qpkit_train.section import Section
from shared_data import DOCS


@pytest.mark.parametrize("name", list_recipes())
def test_every_shipped_recipe_parses_and_is_called_like_its_file(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.purpose and recipe.source
    text = (RECIPES / f"{name}.toml").read_text()
    assert text.startswith("# ")
    if recipe.source != "qpkit":
        assert ("Published" in text and "Ours where they are silent" in text) or name == "bracs-unet-resnet50"


SMALL = ("model.encoder_weights=none", "data.batch_size=2", "data.crop_px=0", "data.workers=0", "precision=32-true",
         "optim.epochs=1", "optim.steps_per_epoch=2", "sampler.hard_negatives=0.5")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", list_recipes())
def test_every_shipped_recipe_trains(name: str, make_tiles: MakeTiles, tmp_path: Path) -> None:
    """Two steps of the shipped network, sampler, augmentation, loss and optimizer; then predicts a tile."""
    shipped = load_recipe(name)
    recipe = load_recipe(name, SMALL[:-1] if shipped.sampler.foreground else SMALL)
    tiles = make_tiles(train={0: 3, 1: 2, 3: 1}, val={0: 1, 1: 1}, context=recipe.model.factors[1:])
    report = fit(tiles, tmp_path / "run", recipe)
    assert (report.epochs, report.steps, report.recipe) == (1, 2, name)
    assert report.parameters["all"] > 1_000_000
    learns_all = report.parameters["learning"] == report.parameters["all"]
    assert learns_all is not name.endswith("-frozen")
    whole = load_recipe(name)
    assert (recipe.model.architecture, recipe.model.encoder) == (whole.model.architecture, whole.model.encoder)
    recipe = load_run(tmp_path / "run").recipe  # with nothing left to a plan
    first, last = (initial_network(recipe, ("a", "b", "c")[: 2 if recipe.classifies_tiles else 3]).network.state_dict(),
                   load_run(tmp_path / "run").load_model().state_dict())  # fmt: skip
    assert first.keys() == last.keys()


def test_a_recipe_may_be_a_path_and_a_single_override_text(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('name = "own"\n')
    assert load_recipe(file, "optim.epochs=3") == load_recipe(str(file), ["optim.epochs=3"])
    with pytest.raises(ConfigError, match=r"own\.toml: no such recipe"):
        qpkit.train("tiles", tmp_path / "run", tmp_path / "not" / "own.toml")


def test_recipes_hold_the_published_values() -> None:
    for name in ("tiger-unet-vgg16", "tiger-unet-resnet34", "tiger-fpn-resnet34"):
        tiger = load_recipe(name)
        assert (tiger.loss.terms, tiger.optim.name, tiger.data.batch_size) == ("dice", "adam", 16)
        rates = [learning_rate(tiger.optim, step=step, steps_per_epoch=10) for step in (0, 149, 150, 249)]
        assert rates == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5])
        assert tiger.optim.epochs == 25
    segformer = load_recipe("bcss-segformer")
    assert (segformer.optim.lr, segformer.optim.weight_decay, segformer.optim.gamma) == (5e-4, 1e-4, 0.5)
    assert (segformer.optim.plateau_patience, segformer.model.dropout > 0) == (1, True)
    frozen = load_recipe("bcss-unet-resnet34-frozen")
    assert frozen.model.freeze_encoder and (frozen.optim.lr, frozen.optim.weight_decay) == (1e-4, 1e-4)
    assert (frozen.early_stopping.patience, frozen.early_stopping.min_delta) == (20, 1e-4)
    for name in ("bracs-unet", "bracs-unet-resnet50", "bracs-densenet"):
        assert load_recipe(name).sampler.ratio == [1, 3] and load_recipe(name).loss.terms == "bce"
    assert load_recipe("bracs-classifier").sampler.ratio == [1, 1]


def test_the_floor_holds_a_plateau_and_nothing_else() -> None:
    optim = load_recipe("bcss-segformer").optim
    assert learning_rate(optim, step=0, steps_per_epoch=1, plateau_factor=1e-9) == optim.min_lr > 0
    assert learning_rate(optim, step=0, steps_per_epoch=1, plateau_factor=0.5) == optim.lr / 2


def test_what_a_recipe_is_for_does_not_change_the_run() -> None:
    labels = LabelMap(classes=(LabelClass("Lesion", 1, ()),))
    ids = {run_id(load_recipe("unet-resnet18", [text]), labels, "0") for text in ("purpose=a", "source=b", "seed=0")}
    assert len(ids) == 1
    assert run_id(load_recipe("unet-resnet18", ["seed=1"]), labels, "0") not in ids


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
        "optim.min_lr=1",
        "model.dropout=1",
        "model.weights=somewhere",
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


@pytest.mark.parametrize("name", ["optim.epochs", "seed", "optim.lr"])
def test_a_number_that_no_computer_counts_to_is_refused(name: str) -> None:
    for digits in (400, 5000):
        with pytest.raises(ConfigError, match=rf"{name} = .*(is no number to train with|: [NE])") as error:
            load_recipe("unet-resnet18", [f"{name}=1{'0' * digits}"])
        assert len(str(error.value)) < 250  # the recipe's path among them


def test_overrides_are_toml_or_plain_text() -> None:
    recipe = load_recipe(
        "unet-resnet18", ["optim.lr=3e-4", "model.encoder=resnet50", "sampler.ratio={Lesion=1, background=2.5}"]
    )
    assert (recipe.optim.lr, recipe.model.encoder) == (3e-4, "resnet50")
    assert recipe.sampler.ratio == {"Lesion": 1, "background": 2.5}


def table_of(name: str) -> list[list[str]]:
    """Cells of the rows of a made table of docs/training.md."""
    page = (DOCS / "training.md").read_text(encoding="utf-8")
    made = page.partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- /{name} -->")[0]
    return [[cell.strip() for cell in line.split(" | ")] for line in made.removesuffix(" |").splitlines()[2:]]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("augmentations", AugmentConfig),
        ("settings of a recipe", Recipe),
        *((f"settings of {field.name}", field.type) for field in msgspec.structs.fields(Recipe)
          if isinstance(field.type, type) and issubclass(field.type, Section) and field.name != "augment"),
    ],
)  # fmt: skip
def test_the_training_page_has_every_setting_with_its_default_and_bounds(name: str, kind: type[Section]) -> None:
    found = {}
    for row in table_of(name):
        setting, default, allowed, meaning = row[-4:]
        found[setting.strip("|` ")] = (default.strip("`"), allowed, len(meaning) > 5)
    expected = {}
    for field in msgspec.structs.fields(kind):
        if isinstance(field.type, type) and issubclass(field.type, Section):
            continue
        bounds, plain = bounds_of(field.type), field.default
        if plain is msgspec.NODEFAULT and not field.required:
            plain = field.default_factory()
        choices = get_args(field.type) if get_origin(field.type) is Literal else ()
        allowed = ", ".join(f"`{choice}`" for choice in choices) or ("" if bounds is None else str(bounds))
        default = "required" if field.required else plain
        expected[field.name] = (default, allowed, True)
    assert list(found) == list(expected)
    for setting, (default, *rest) in expected.items():
        shown, *others = found[setting]
        assert others == rest, setting
        assert default == "required" == shown or tomllib.loads(f"x = {shown}")["x"] == default, setting


def test_the_examples_of_the_training_page_are_recipes() -> None:
    page = (DOCS / "training.md").read_text(encoding="utf-8")
    examples = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    assert any("[augment]" in text for text in examples)
    settings = [found for found in map(tomllib.loads, examples) if "onnx" not in found]  # not a model of others
    assert len(settings) == len(examples) - 1
    for found in settings:
        recipe_from_builtins({"name": "page", **found}, source="docs/training.md")


def test_the_training_page_has_every_recipe_and_every_term() -> None:
    assert [row[0] for row in table_of("recipes")] == [f"| `{name}`" for name in list_recipes()]
    assert [row[0] for row in table_of("loss terms")] == [f"| `{name}`" for name in loss_terms()]


def test_a_recipe_survives_run_json() -> None:
    recipe = load_recipe("tiger-fpn-resnet34", ["sampler.ratio={Lesion=1}"])
    text = msgspec.json.encode(recipe)
    assert recipe_from_builtins(msgspec.json.decode(text), source="run.json") == recipe


def test_an_unknown_recipe_is_refused_with_the_close_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'unet-resnet18'"):
        load_recipe("unet-resnet81")


def test_neither_the_package_nor_its_settings_import_torch() -> None:
    code = "import sys, qpkit_train, qpkit_train.recipe.load; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
