"""Read the everyday Java classes (boxed numbers, lists, maps) out of stream nodes as Python values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from qpkit.errors import FormatError
from qpkit.qupath.javanodes import Array, Block, Content, Enum, JavaString, Obj, Reset, Value

Plain: TypeAlias = str | int | float | bool | None

_BOXES: Final = frozenset(
    f"java.lang.{name}" for name in ["Integer", "Double", "Boolean", "Float", "Long", "Short", "Byte"]
)


def fail(what: str, node: object) -> FormatError:
    """Make the error for a node: what, and at which byte."""
    offset = getattr(node, "offset", -1)
    return FormatError(what if offset < 0 else f"{what} at byte {offset}")


def describe(node: object) -> str:
    """Name a node in a message."""
    if isinstance(node, Obj):
        return node.class_name
    if isinstance(node, Array | Enum):
        return node.desc.name
    return "null" if node is None else type(node).__name__


def text_or_none(node: Content, owner: object) -> str | None:
    """Read a string or null as a plain `str`.

    Raises:
        FormatError: Something else.
    """
    if node is None:
        return None
    if isinstance(node, JavaString):
        return str(node)
    raise fail(f"a string is expected, not {describe(node)}", owner)


def int_or_none(node: Content, owner: object) -> int | None:
    """Read a java.lang.Integer or null.

    Raises:
        FormatError: Something else.
    """
    if node is None:
        return None
    value = node.fields().get("value") if isinstance(node, Obj) and node.class_name == "java.lang.Integer" else None
    if not isinstance(value, int):
        raise fail(f"an Integer is expected, not {describe(node)}", owner)
    return value


def plain(node: Content) -> Plain:
    """Read strings, boxed values and enum constants as Python values; anything else by its class, "<java.util.X>"."""
    if node is None or isinstance(node, JavaString):
        return None if node is None else str(node)
    if isinstance(node, Enum):
        return str(node.constant)
    if isinstance(node, Obj) and node.class_name in _BOXES:
        value = node.fields().get("value")
        if isinstance(value, int | float):
            return value
    return f"<{describe(node)}>"


def elements(node: Content, owner: object) -> Sequence[Value]:
    """Read the elements of an ArrayList, an unmodifiable list, a List.of or an Object[].

    Raises:
        FormatError: Something else.
    """
    for _ in range(4):  # wrappers in wrappers; a loop of them is not a list
        if isinstance(node, Array) and node.code == "L":
            return node.values
        if not isinstance(node, Obj):
            break
        if node.class_name in ("java.util.ArrayList", "java.util.CollSer"):
            return _values(node.annotation[1:], node)
        if node.class_name != "java.util.Collections$UnmodifiableList":
            break
        inner = node.fields().get("list")
        node = inner if isinstance(inner, Obj | Array) else None
    raise fail(f"a list is expected, not {describe(node)}", owner)


def entries(node: Content, owner: object) -> list[tuple[Value, Value]]:
    """Read the entries of a HashMap, LinkedHashMap, singleton map or Map.of; null has none.

    Raises:
        FormatError: Something else.
    """
    if node is None:
        return []
    if isinstance(node, Obj):
        if node.class_name == "java.util.Collections$SingletonMap":
            return [(node.parts[-1].objects[0], node.parts[-1].objects[1])] if len(node.parts[-1].objects) == 2 else []
        own = map_contents(node)
        if own is not None and len(own) % 2 == 1 and isinstance(own[0], Block):
            values = _values(own[1:], node)
            return list(zip(values[::2], values[1::2], strict=True))
    raise fail(f"a map is expected, not {describe(node)}", owner)


def map_contents(node: Obj) -> list[Content] | None:
    """Give the list in which a map keeps its size block, keys and values; None if it is no map."""
    if node.class_name in ("java.util.HashMap", "java.util.LinkedHashMap"):
        return node.parts[0].annotation if node.parts else None
    return node.annotation if node.class_name == "java.util.CollSer" else None


def _values(contents: Sequence[Content], owner: object) -> list[Value]:
    values = [item for item in contents if not isinstance(item, Block | Reset)]
    if len(values) != len(contents):
        raise fail("a list or map holds stray bytes", owner)
    return values
