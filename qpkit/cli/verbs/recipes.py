"""qpkit recipes: lists the recipes that come with qpkit."""

from __future__ import annotations

from qpkit.cli.shared.console import say, table
from qpkit.extras import extra

with extra("train"):
    from qpkit_train.recipe.load import list_recipes, load_recipe
    from qpkit_train.recipe.settings import ModelConfig


def command() -> None:
    """List the shipped recipes."""
    rows = []
    for name in list_recipes():
        recipe = load_recipe(name)
        model = recipe.model.architecture if recipe.model.encoder == "none" else _network(recipe.model)
        rows.append((name, recipe.purpose, recipe.source, model))
    table("Recipes", ("name", "purpose", "source", "network"), rows)
    say("qpkit train TILES -o RUN --recipe NAME; those with a tile-classifier: qpkit train-classifier")


def _network(model: ModelConfig) -> str:
    frozen = ", frozen" if model.freeze_encoder else ""
    return f"{model.architecture}/{model.encoder}{frozen}"
