"""A sum of terms as text: "0.5*ce + dice"."""

from __future__ import annotations

import math

from qpkit.errors import ConfigError, did_you_mean
from qpkit_train.losses.terms import loss_terms


def parse_terms(text: str) -> list[tuple[float, str]]:
    """Read the terms of a loss: (factor, name) each.

    Raises:
        ConfigError: An unknown name, a factor that is no positive number, a term twice, or bce beside ce.
    """
    there, terms = loss_terms(), []
    for part in text.split("+"):
        factor, star, name = part.rpartition("*")
        name = name.strip()
        if name not in there:
            hint = did_you_mean(name, there)
            raise ConfigError(f"loss.terms = {text!r}: no term {name!r}; {hint}there are {', '.join(there)}")
        try:
            weight = float(factor) if star else 1.0
        except ValueError:
            weight = math.nan
        if not 0 < weight < math.inf:
            raise ConfigError(f"loss.terms = {text!r}: {factor.strip()!r} is no factor; write it like 0.5*{name}")
        terms.append((weight, name))
    names = [name for _, name in terms]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"loss.terms = {text!r}: {name} is there twice; add up the factors")
    for name in names:
        for other in there[name].excludes:
            if other in names:
                raise ConfigError(f"loss.terms = {text!r}: {name} and {other} exclude each other")
    return terms
