"""Every setting is described, and a printed recipe is the recipe."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from command_line import run
from qpkit.errors import ConfigError
from qpkit_train.recipe.described import recipe_settings, recipe_text
from qpkit_train.recipe.load import list_recipes, load_recipe
from qpkit_train.recipe.settings import Recipe


def leaves(tables: dict[str, object]) -> set[str]:
    sections = {
        f.name
        for f in msgspec.structs.fields(Recipe)
        if isinstance(f.type, type) and issubclass(f.type, msgspec.Struct)
    }
    return {
        f"{name}.{key}" if name in sections else name
        for name, value in tables.items()
        for key in (value if name in sections else [name])  # type: ignore[attr-defined]
    }


def test_every_setting_is_described_once() -> None:
    keys = [setting.key for setting in recipe_settings()]
    assert sorted(keys) == sorted(leaves(msgspec.to_builtins(load_recipe("unet-resnet18"))))
    assert all(setting.help and setting.kind for setting in recipe_settings())


@pytest.mark.parametrize("name", list_recipes())
def test_a_printed_recipe_is_that_recipe_and_its_comments_are_its_defaults(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.toml"
    file.write_text(recipe_text(name), encoding="utf-8")
    assert load_recipe(str(file)) == load_recipe(name)
    # With every default said, too.
    file.write_text(re.sub(r"^# (\w+ = )", r"\1", recipe_text(name), flags=re.MULTILINE), encoding="utf-8")
    assert load_recipe(str(file)) == load_recipe(name)
    said = leaves(tomllib.loads(file.read_text(encoding="utf-8")))
    # A default that is said would win over the plan.
    planned = {setting for setting in load_recipe(name).plan.decides if "options" not in setting}
    assert not said & planned and said | planned == {setting.key for setting in recipe_settings()}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("precision=float32", "--set precision = 'float32': has to be one of auto, 32-true, bf16-mixed, 16-mixed"),
        ("optim.name=adamx", "--set optim.name = 'adamx': has to be one of adamw"),
        ("optim.lr=-1", "--set optim.lr = -1.0 has to be a positive number"),
        ("lr=1e-4", "--set unknown setting lr, did you mean 'optim.lr'?"),
        ("optim.leraning=1", "--set unknown setting optim.leraning"),
    ],
)
def test_a_wrong_override_names_the_flag_and_what_there_is_and_no_shipped_file(override: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe("unet-resnet18", [override])
    assert str(caught.value).startswith(said)
    if not override.startswith("optim.lr"):
        assert ".toml" not in str(caught.value)


def test_the_command_prints_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("recipes", "unet-resnet18") == 0
    assert capsys.readouterr().out == recipe_text("unet-resnet18")
    assert run("recipes", "--settings", "--json") == 0
    assert len(msgspec.json.decode(capsys.readouterr().out)) == len(recipe_settings())
    assert run("recipes", "unet-resnet8") == 1
    assert "did you mean 'unet-resnet18'" in capsys.readouterr().err
