"""Tables of recipes: put together of parts, and refused by name where a value is out of its bounds."""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpkit.settings import Range, bounds_of
from qpkit_train.recipe.load import load_recipe
from qpkit_train.recipe.rules import recipe_faults
from qpkit_train.recipe.settings import Recipe
from qpkit_train.section import Section, section_of


class Base(Section, frozen=True, kw_only=True):
    own: str = "o"


class One(Section, frozen=True, kw_only=True):
    size: Annotated[int, Range(at_least=1)] = 3
    names: list[str] = msgspec.field(default_factory=lambda: ["a"])


class Two(Section, frozen=True, kw_only=True):
    rate: float = 0.5


Made: Any = section_of("Made", Base, [One, Two], module=__name__)


def test_a_table_has_the_fields_of_its_parts_with_their_defaults_and_bounds() -> None:
    assert Made.__struct_fields__ == ("own", "size", "names", "rate")
    made = Made()
    assert (made.own, made.size, made.names, made.rate) == ("o", 3, ["a"], 0.5)
    assert made.names is not Made().names
    assert isinstance(made, Base) and list(made.faults()) == []
    (size,) = [field for field in msgspec.structs.fields(Made) if field.name == "size"]
    assert str(bounds_of(size.type)) == "1 or more"
    assert msgspec.convert(msgspec.to_builtins(made), Made) == made
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"other": 1}, Made)
    with pytest.raises(AssertionError, match="a setting of the same name"):
        section_of("Twice", Base, [One, One], module=__name__)


def fields_with_bounds() -> list[tuple[str, str, Range, type]]:
    """(section, field, bounds, int or float) of every setting of a recipe that has bounds."""
    found = []
    recipe = load_recipe("unet-resnet18")
    for section in msgspec.structs.fields(Recipe):
        value = getattr(recipe, section.name)
        for field in msgspec.structs.fields(value) if isinstance(value, Section) else [section]:
            bounds = bounds_of(field.type)
            if bounds is not None:
                kind = type(getattr(value, field.name) if isinstance(value, Section) else value)
                found.append((section.name if isinstance(value, Section) else "", field.name, bounds, kind))
    return found


BOUNDED = fields_with_bounds()
RECIPE = load_recipe("unet-resnet18")


def changed(section: str, name: str, value: Any) -> Recipe:
    if not section:
        return msgspec.structs.replace(RECIPE, **{name: value})
    table = msgspec.structs.replace(getattr(RECIPE, section), **{name: value})
    return msgspec.structs.replace(RECIPE, **{section: table})


@given(st.sampled_from(BOUNDED), st.floats(-1e6, 1e6) | st.integers(-99, 2000))
def test_a_value_out_of_bounds_is_named_with_its_bounds_and_one_inside_is_not(
    case: tuple[str, str, Range, type], value: float
) -> None:
    section, name, bounds, kind = case
    value = kind(value)
    said = f"{section}.{name} = {value} has to be {bounds}" if section else f"{name} = {value} has to be {bounds}"
    faults = list(recipe_faults(changed(section, name, value)))
    assert (said in faults) == (not bounds.holds(value))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_named_once_however_deep_it_lies(value: float) -> None:
    said = f"= {value} is no number to train with"
    assert [f for f in recipe_faults(changed("optim", "lr", value)) if said in f] == [f"optim.lr {said}"]
    deep = changed("model", "options", {"a": {"b": [1.0, value]}})
    assert list(recipe_faults(deep)) == [f"model.options.a.b {said}"]


def test_faults_of_all_sections_and_transforms_come_together() -> None:
    recipe = changed("optim", "schedule", "step")
    recipe = msgspec.structs.replace(
        recipe, name=" ", augment=msgspec.structs.replace(recipe.augment, elastic_px=99.0, clahe=0.5),
        loss=msgspec.structs.replace(recipe.loss, terms="ce+bce"),
    )  # fmt: skip
    faults = "; ".join(recipe_faults(recipe))
    for words in ("name must not be blank", "optim.milestones", "elastic_px", "augment.clahe", "exclude each other"):
        assert words in faults
    assert list(recipe_faults(RECIPE)) == []
