"""qpkit recipes: lists the recipes that come with qpkit, prints one as a TOML to start from, or every setting."""

from __future__ import annotations

from dataclasses import asdict

import typer

from qpkit.cli.shared.console import say, table
from qpkit.errors import ConfigError
from qpkit.extras import extra

with extra("train"):
    from qpkit_train.recipe.described import recipe_settings, recipe_text
    from qpkit_train.recipe.load import list_recipes, load_recipe
    from qpkit_train.recipe.settings import ModelConfig


def command(
    name: str = typer.Argument("", metavar="[NAME]", help="Print this recipe as a commented TOML to start from."),
    settings: bool = typer.Option(False, "--settings", help="Print every setting: type, default, bounds, meaning."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON; with --settings."),
) -> None:
    """List the shipped recipes, print one of them, or every setting that a recipe has."""
    if name and settings:
        raise ConfigError("NAME and --settings exclude each other; give one")
    if as_json and not settings:
        raise ConfigError("--json goes with --settings")
    if name:
        typer.echo(recipe_text(name), nl=False)
    elif settings:
        _show_settings(as_json=as_json)
    else:
        _show_recipes()


def _show_settings(*, as_json: bool) -> None:
    import msgspec

    found = recipe_settings()
    if as_json:
        typer.echo(msgspec.json.encode([{"key": item.key, **asdict(item)} for item in found]).decode())
        return
    rows = [(item.key, item.kind, item.default, item.allowed, item.help) for item in found]
    table("Settings of a recipe", ("setting", "type", "default", "allowed", "what it does"), rows)
    say("change one with --set KEY=VALUE, or in a TOML file: qpkit recipes NAME > my.toml")


def _show_recipes() -> None:
    rows = []
    for name in list_recipes():
        recipe = load_recipe(name)
        model = recipe.model.architecture if recipe.model.encoder == "none" else _network(recipe.model)
        rows.append((name, recipe.purpose, recipe.source, model))
    table("Recipes", ("name", "purpose", "source", "network"), rows)
    say("qpkit train TILES -o RUN --recipe NAME; those with a tile-classifier: qpkit train-classifier")
    say("qpkit recipes NAME prints one of them to start from, qpkit recipes --settings every setting")


def _network(model: ModelConfig) -> str:
    frozen = ", frozen" if model.freeze_encoder else ""
    return f"{model.architecture}/{model.encoder}{frozen}"
