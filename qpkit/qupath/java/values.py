"""Read the everyday Java classes (boxed numbers, lists, maps) out of a stream as Python values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from qpkit.errors import FormatError
from qpkit.qupath.java.grammar import TC_ENUM
from qpkit.qupath.java.tape import Primitive, StreamValue

Plain: TypeAlias = str | int | float | bool | None

_BOXES: Final = frozenset(
    f"java.lang.{name}" for name in ["Integer", "Double", "Boolean", "Float", "Long", "Short", "Byte"]
)


def fail(what: str, view: StreamValue) -> FormatError:
    """Make the error for a value: what, and at which byte."""
    return view.tape.fail(what, view.row)


def field(view: StreamValue, name: str) -> StreamValue | None:
    """Give an object field; None if there is none of that name, or it is null."""
    value = view.fields().get(name)
    return value if isinstance(value, StreamValue) and not value.is_null else None


def text_or_none(view: StreamValue, owner: StreamValue) -> str | None:
    """Read a string or null.

    Raises:
        FormatError: Something else.
    """
    if view.is_null:
        return None
    if view.is_text:
        return view.text
    raise fail(f"a string is expected, not {view.class_name}", owner)


def int_or_none(view: StreamValue, owner: StreamValue) -> int | None:
    """Read a java.lang.Integer or null.

    Raises:
        FormatError: Something else.
    """
    if view.is_null:
        return None
    value = view.fields().get("value") if view.is_object and view.class_name == "java.lang.Integer" else None
    if not isinstance(value, int):
        raise fail(f"an Integer is expected, not {view.class_name}", owner)
    return value


def plain(value: StreamValue | Primitive | None) -> Plain:
    """Read a string, number, boolean or enum constant; anything else as "<its class>"."""
    if not isinstance(value, StreamValue):
        return value
    if value.is_null:
        return None
    if value.is_text or value.kind == TC_ENUM:
        return value.text
    if value.is_object and value.class_name in _BOXES:
        inner = value.fields().get("value")
        if isinstance(inner, int | float):
            return inner
    return f"<{value.class_name}>"


def elements(view: StreamValue, owner: StreamValue) -> Sequence[StreamValue]:
    """Read the elements of an ArrayList, an unmodifiable list, a List.of or an Object[].

    Raises:
        FormatError: Something else.
    """
    node: StreamValue | None = view
    for _ in range(4):  # wrappers in wrappers; a loop of them is not a list
        if node is None:
            break
        if node.is_array and node.class_name.startswith("[L"):
            return node.elements()
        if not node.is_object:
            break
        if node.class_name in ("java.util.ArrayList", "java.util.CollSer"):
            # Behind a block: an ArrayList's capacity, a CollSer's number of elements.
            return _values(node.own()[1:], node)
        if node.class_name != "java.util.Collections$UnmodifiableList":
            break
        node = field(node, "list")
    raise fail(f"a list is expected, not {view.class_name}", owner)


def entries(view: StreamValue | None) -> list[tuple[StreamValue, StreamValue]]:
    """Read the entries of a HashMap, LinkedHashMap, singleton map or Map.of; null has none.

    Raises:
        FormatError: Something else.
    """
    if view is None or view.is_null:
        return []
    if view.is_object:
        if view.class_name == "java.util.Collections$SingletonMap":
            # Java sorts fields by name: k, then v.
            pair = [value for value in view.fields().values() if isinstance(value, StreamValue)]
            return [(pair[0], pair[1])] if len(pair) == 2 else []
        own = map_contents(view)
        if own and len(own) % 2 == 1 and own[0].is_block:
            values = _values(own[1:], view)
            return list(zip(values[::2], values[1::2], strict=True))
    raise fail(f"a map is expected, not {view.class_name}", view)


def map_contents(view: StreamValue) -> list[StreamValue]:
    """Give what a map wrote: its size block, keys and values; nothing if it is no map."""
    if view.class_name in ("java.util.HashMap", "java.util.LinkedHashMap"):
        # Also for a LinkedHashMap: it adds a field, but HashMap above it writes the entries.
        return view.own_of_top()
    return view.own() if view.class_name == "java.util.CollSer" else []


def _values(contents: Sequence[StreamValue], owner: StreamValue) -> list[StreamValue]:
    values = [item for item in contents if not item.is_block]
    if len(values) != len(contents):
        raise fail("a list or map holds stray bytes", owner)
    return values
