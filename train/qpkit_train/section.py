"""What every table of a recipe has in common, and how one is put together of the parts that others register."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Self

import msgspec


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a recipe, or a part of one: fields with defaults, bounds (`qpkit.settings.Range`) and a docstring."""

    def faults(self) -> Iterator[str]:
        """Name what a type and bounds cannot say, each with the whole name of the setting."""
        yield from ()

    @classmethod
    def of(cls, config: object) -> Self:
        """Take the own settings out of a table that has them all."""
        return cls(**{name: getattr(config, name) for name in cls.__struct_fields__})


def section_of(name: str, base: type[Section], parts: Iterable[type[Section]], *, module: str) -> type[Any]:
    """Make a table that has the fields of `base` and then those of every part, with their defaults and bounds.

    Args:
        name: Of the new class, and of the global of `module` that it is bound to.
        base: What the table has by itself.
        parts: In the order of their fields; two must not have a field of the same name.
        module: Where it is bound.
    """
    fields = [
        (field.name, field.type, msgspec.field(default_factory=field.default_factory))
        if field.default is msgspec.NODEFAULT
        else (field.name, field.type, field.default)
        for part in parts
        for field in msgspec.structs.fields(part)
    ]
    assert len({field[0] for field in fields}) == len(fields), f"two parts of {name} have a setting of the same name"
    return msgspec.defstruct(
        name, fields, bases=(base,), module=module, frozen=True, kw_only=True, forbid_unknown_fields=True
    )
