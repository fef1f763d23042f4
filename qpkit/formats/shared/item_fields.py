"""What a Darwin annotation has beyond shape, class, text and slots (properties, instance id ...) <-> metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

_PEOPLE: Final = ("annotators", "reviewers")
_INSTANCE: Final = "instance_id"
_ATTRIBUTES: Final = "attributes"
_FRAME: Final = "frame_index"
_OF_FRAME: Final = f": {_FRAME}"
_BETWEEN: Final = ", "
_MOST_DIGITS: Final = 15


def other_values(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Name the values of an annotation; a property's name is its key, other fields of it stand behind a colon.

    Args:
        record: The annotation without the fields that have a place of their own.
    """
    for key, value in record.items():
        if key == "properties" and isinstance(value, list):
            for number, one in enumerate(value):
                held = one if isinstance(one, dict) else {"value": one}
                yield str(held.get("name", f"property {number + 1}")), held.get("value")
                yield from ((f"{held.get('name')}: {k}", v) for k, v in held.items() if k not in ("name", "value"))
        elif key == _INSTANCE and isinstance(value, dict):
            yield from ((key if k == "value" else f"{key}.{k}", v) for k, v in value.items())
        elif key in _PEOPLE and isinstance(value, list):
            yield key, [" ".join(map(str, one.values())) if isinstance(one, dict) else one for one in value]
        else:
            yield key, value


def written_values(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Make fields of metadata: instance id and attributes where V7 has them, the rest properties.

    `other_values` gives the same metadata again, but for blank texts, which are left out.
    """
    texts = {key: text for key, text in metadata.items() if text}
    made: dict[str, Any] = {"properties": []}
    for key, text in texts.items():
        if key == _ATTRIBUTES:
            made[key] = text.split(_BETWEEN)
        elif key == _INSTANCE and isinstance(number := _number_or_text(text), int):
            made[key] = {"value": number}
        elif not _is_of_property(key, texts):
            frame = _number_or_text(texts[key + _OF_FRAME]) if _is_of_property(key + _OF_FRAME, texts) else None
            made["properties"].append({"frame_index": frame, "name": key, "value": text})
    return made


def _is_of_property(key: str, texts: Mapping[str, str]) -> bool:
    """Whether a text is the frame of a property rather than one of its own."""
    name = key.removesuffix(_OF_FRAME)
    is_special = name == _ATTRIBUTES or (name == _INSTANCE and isinstance(_number_or_text(texts.get(name, "")), int))
    return key in texts and name != key and name in texts and not is_special and not name.endswith(_OF_FRAME)


def _number_or_text(text: str) -> int | str:
    is_number = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS and (text == "0" or text[0] != "0")
    return int(text) if is_number else text
