"""Faults of derived classes: circles are those that the standard library finds, lengths are positive numbers."""

from __future__ import annotations

import graphlib
import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from qpkit.core.label_rules import Derivation, derivation_faults, length_faults

NAMES = "ABCDE"
some = st.lists(st.sampled_from(NAMES), max_size=2, unique=True).map(tuple)
graphs = st.dictionaries(st.sampled_from(NAMES), st.builds(Derivation, of=some, inside=some, outside=some))


@given(graphs)
def test_a_circle_is_named_if_and_only_if_there_is_one(graph: dict[str, Derivation]) -> None:
    said = [text for text in derivation_faults(graph, NAMES) if "circle" in text]
    try:
        list(graphlib.TopologicalSorter({name: rule.names for name, rule in graph.items()}).static_order())
    except graphlib.CycleError:
        assert said
    else:
        assert not said
    for text in said:
        circle = text.rpartition(": ")[2].split(" -> ")
        assert circle[0] == circle[-1] and len(set(circle)) == len(circle) - 1
        assert all(after in graph[before].names for before, after in pairwise(circle))


@given(graphs, st.lists(st.sampled_from(NAMES), unique=True))
def test_every_name_that_the_map_does_not_have_is_said_once(graph: dict[str, Derivation], known: list[str]) -> None:
    said = [text for text in derivation_faults(graph, known) if "does not have" in text]
    strange = {(name, other) for name, rule in graph.items() for other in rule.names if other not in known}
    assert len(said) == len(strange)
    for name, other in strange:
        assert sum(f"{name!r} is derived from {other!r}" in text for text in said) == 1


@given(st.floats() | st.integers(-3, 3) | st.none())
def test_a_length_is_none_or_a_positive_number(um: float | None) -> None:
    good = um is None or (um > 0 and math.isfinite(um))
    assert len(list(length_faults("width", um))) == (not good)


@given(st.booleans(), st.floats(), st.floats())
def test_a_distance_and_what_it_is_measured_from_need_each_other(around: bool, within: float, grow: float) -> None:
    rule = Derivation(of=("A",), around=("B",) if around else (), within_um=within, grow_um=grow)
    said = list(derivation_faults({"X": rule}, NAMES))
    distance_is_good = (within > 0 and math.isfinite(within)) if around else within == 0
    assert len(said) == (not distance_is_good) + (not math.isfinite(grow))
    assert rule.has_um == (grow != 0 or within != 0)
