"""Everyday Java values out of streams that another writer wrote."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from javatree_nodes import Array, Block, ClassDesc, Enum, Field, JavaString, Obj, Part, Stream
from javatree_reader import write

from qpkit.errors import FormatError
from qpkit.qupath.java import values
from qpkit.qupath.java.tape import StreamValue, Tape

_LIST = JavaString("Ljava/util/List;")
ARRAY_LIST = ClassDesc("java.util.ArrayList", 1, 3, [Field("I", "size")]).finish()
COLL_SER = ClassDesc("java.util.CollSer", 2, 3, [Field("I", "tag")]).finish()
HASH_MAP = ClassDesc("java.util.HashMap", 3, 3, [Field("F", "loadFactor"), Field("I", "threshold")]).finish()
LINKED = ClassDesc("java.util.LinkedHashMap", 4, 2, [Field("Z", "accessOrder")], superclass=HASH_MAP).finish()
SINGLETON = ClassDesc(
    "java.util.Collections$SingletonMap", 5, 2,
    [Field("L", "k", JavaString("Ljava/lang/Object;")), Field("L", "v", JavaString("Ljava/lang/Object;"))],
).finish()  # fmt: skip
ABOVE = ClassDesc("java.util.Collections$UnmodifiableCollection", 6, 2).finish()
UNMODIFIABLE = ClassDesc(
    "java.util.Collections$UnmodifiableList", 7, 2, [Field("L", "list", _LIST)], superclass=ABOVE
).finish()
OBJECTS = ClassDesc("[Ljava.lang.Object;", 8, 2).finish()

texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=5)


def view(node: Any) -> StreamValue:
    """The node, as it is seen in a stream that holds nothing else."""
    tape = Tape(write(Stream([node])))
    return tape.view(next(tape.top()))


def box(name: str, code: str, layout: str, value: float) -> Obj:
    number = ClassDesc("java.lang.Number", 9, 2).finish()
    return Obj(
        ClassDesc(f"java.lang.{name}", 1, 2, [Field(code, "value")], superclass=number).finish(),
        [Part(), Part(struct.pack(layout, value))],
    )


def array_list(items: list[Any]) -> Obj:
    size = struct.pack(">i", len(items))
    return Obj(ARRAY_LIST, [Part(size, annotation=[Block(size), *items])])


def list_of(items: list[Any], kind: str) -> Any:
    if kind == "array":
        return Array(OBJECTS, values=items)
    if kind == "List.of":
        return Obj(COLL_SER, [Part(bytes(4), annotation=[Block(bytes(4)), *items])])
    inner = array_list(items)
    return inner if kind == "ArrayList" else Obj(UNMODIFIABLE, [Part(), Part(objects=[inner])])


def map_of(pairs: list[tuple[Any, Any]], kind: str) -> Any:
    flat = [item for pair in pairs for item in pair]
    if kind == "singleton":
        return Obj(SINGLETON, [Part(objects=flat)])
    if kind == "Map.of":
        return Obj(COLL_SER, [Part(bytes(4), annotation=[Block(bytes(4)), *flat])])
    own = Part(bytes(8), annotation=[Block(bytes(8)), *flat])
    return Obj(HASH_MAP, [own]) if kind == "HashMap" else Obj(LINKED, [own, Part(b"\0")])


@given(texts, st.sampled_from(["array", "List.of", "ArrayList", "unmodifiable"]))
def test_the_elements_of_any_list_are_those_that_were_put_in(items: list[str], kind: str) -> None:
    found = view(list_of([JavaString(item) for item in items], kind))
    assert [item.text for item in values.elements(found, found)] == items


@given(st.dictionaries(st.text("ab", max_size=3), st.text("xy", max_size=3), max_size=4))
def test_the_entries_of_any_map_are_those_that_were_put_in(items: dict[str, str]) -> None:
    pairs = [(JavaString(key), JavaString(value)) for key, value in items.items()]
    for kind in ("HashMap", "LinkedHashMap", "Map.of", *(["singleton"] if len(pairs) == 1 else [])):
        found = values.entries(view(map_of(pairs, kind)))
        assert {key.text: value.text for key, value in found} == items


def test_no_map_has_no_entries_and_a_thing_that_is_none_is_refused() -> None:
    assert values.entries(None) == values.entries(view(None)) == []
    for node in (JavaString("a"), array_list([]), Obj(HASH_MAP, [Part(bytes(8), annotation=[JavaString("a")])])):
        with pytest.raises(FormatError, match=r"a map is expected, not .* at byte 4"):
            values.entries(view(node))
    with pytest.raises(FormatError, match=r"a list is expected, not java.util.HashMap at byte"):
        values.elements(view(map_of([], "HashMap")), view(None))
    with pytest.raises(FormatError, match="stray bytes"):
        values.elements(view(list_of([Block(b"a")], "ArrayList")), view(None))


def test_a_list_that_wraps_itself_is_no_list() -> None:
    loop = Obj(UNMODIFIABLE, [Part(), Part(objects=[None])])
    loop.parts[1].objects[0] = loop
    with pytest.raises(FormatError, match="a list is expected"):
        values.elements(view(loop), view(None))


@given(st.integers(-(1 << 31), (1 << 31) - 1), st.floats(width=32), st.floats(), st.booleans())
def test_boxed_numbers_are_plain_ones(whole: int, single: float, double: float, flag: bool) -> None:
    assert values.plain(view(box("Integer", "I", ">i", whole))) == whole
    assert values.plain(view(box("Long", "J", ">q", whole))) == whole
    assert values.plain(view(box("Boolean", "Z", ">?", flag))) is flag
    for name, code, number in (("Float", "F", single), ("Double", "D", double)):
        found = values.plain(view(box(name, code, f">{code.lower()}", number)))
        assert found == number or (found != found and number != number)


def test_other_values_are_texts_or_show_their_class() -> None:
    constants = ClassDesc("a.Kind", 0, 0x12, superclass=ClassDesc("java.lang.Enum", 0, 0x12).finish()).finish()
    assert values.plain(view(JavaString("µ"))) == "µ"
    assert values.plain(view(Enum(constants, JavaString("ONE")))) == "ONE"
    assert values.plain(view(array_list([]))) == "<java.util.ArrayList>"
    assert values.plain(view(None)) is None and values.plain(None) is None
    assert (values.plain(1.5), values.plain(True)) == (1.5, True)


def test_a_string_or_an_integer_is_given_or_refused() -> None:
    text, number, null = view(JavaString("a")), view(box("Integer", "I", ">i", -7)), view(None)
    assert (values.text_or_none(text, text), values.text_or_none(null, text)) == ("a", None)
    assert (values.int_or_none(number, text), values.int_or_none(null, text)) == (-7, None)
    with pytest.raises(FormatError, match=r"a string is expected, not java.lang.Integer at byte 4"):
        values.text_or_none(number, number)
    with pytest.raises(FormatError, match=r"an Integer is expected, not java.lang.Double"):
        values.int_or_none(view(box("Double", "D", ">d", 1.0)), text)


def test_a_field_is_given_unless_it_is_null_or_a_number() -> None:
    found = view(Obj(UNMODIFIABLE, [Part(), Part(objects=[array_list([])])]))
    inner = values.field(found, "list")
    assert inner is not None and inner.class_name == "java.util.ArrayList"
    assert values.field(inner, "size") is None and values.field(found, "nothing") is None
    assert values.field(view(Obj(UNMODIFIABLE, [Part(), Part(objects=[None])])), "list") is None
