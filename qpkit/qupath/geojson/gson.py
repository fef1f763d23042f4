"""What Gson, the JSON library of QuPath, makes of plain values: which can be asked for a text, a number, an integer.

Source: Gson 2.8.9 to 2.13.2, which QuPath 0.3 to 0.7 have; asked with QuPath's importers.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

_DOUBLE: Final = re.compile(
    r"[\0- ]*[+-]?(NaN|Infinity|((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
    r"|(?P<hex>0[xX]([\da-fA-F]+\.?[\da-fA-F]*|\.[\da-fA-F]+)[pP][+-]?\d+))[fFdD]?)[\0- ]*",
    re.ASCII,
)
_INTEGER: Final = re.compile(r"[+-]?\d+", re.ASCII)
_TRIMMED: Final = "".join(map(chr, range(33)))
_INT_END: Final = 1 << 31
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_SHORT_UUID: Final = re.compile(r"(\+?[0-9a-fA-F]+)-" * 4 + r"(\+?[0-9a-fA-F]+)")
_UUID_LENGTH: Final = 36
_NAMED_VALUES: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

JAVA_BLANKS: Final = "\t\n\v\f\r\x1c\x1d\x1e\x1f \u1680\u2028\u2029\u205f\u3000" + "".join(
    chr(code) for code in range(0x2000, 0x200B) if code != 0x2007
)
"""What Java strips: without the no-break spaces, which Python strips, too."""


def alone(value: Any) -> Any:
    """Take the value out of lists that hold only one; Gson asks it instead."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def text_of(value: Any) -> str | None:
    """Give what getAsString gives; None where it fails.

    A text, number or boolean, or a list with only one such value. Numbers come as Python writes them.
    """
    if isinstance(value, str):  # nearly always
        return value
    value = alone(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None or isinstance(value, dict | list) else str(value)


def double_of(value: Any) -> float | None:
    """Give what getAsDouble gives: of a number, or of a text that Java reads as one, also in a list; else None."""
    value = alone(value)
    if isinstance(value, str):
        match = _DOUBLE.fullmatch(value)
        if match is None:
            return None
        number = value.strip(_TRIMMED).rstrip("fFdD")
        try:
            return float.fromhex(number) if match["hex"] else float(number)
        except OverflowError:
            return math.copysign(math.inf, -1 if number.startswith("-") else 1)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer beyond all doubles
        return math.inf if value > 0 else -math.inf


def int_of(value: Any) -> int | None:
    """Give what nextInt gives of a plain value, and getAsInt of one in a list, too; None where it fails.

    Any number, cut to its whole part and to 32 bits, or a text of digits that fits.
    """
    if isinstance(value, str):
        if _INTEGER.fullmatch(value) is None:
            return None
        # Cut, as Python refuses to read thousands of digits; twenty are too many for an int already.
        size = int(value.lstrip("+-").lstrip("0")[:20] or 0)
        number = -size if value.startswith("-") else size
        return number if -_INT_END <= number < _INT_END else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    whole = value if isinstance(value, int) else int(value) if math.isfinite(value) else 0
    return (whole + _INT_END) % (_INT_END << 1) - _INT_END


def measurement_of(value: str) -> float | None:
    """Give what QuPath 0.5 and later make of a text in a map of measurements ("nan" and "inf" are numbers there)."""
    return _NAMED_VALUES.get(value.lower(), double_of(value))


def uuid_of(text: str) -> str | None:
    """Give the UUID that Java's UUID.fromString reads, in its usual form: groups may be shorter, or longer and cut."""
    if _UUID.fullmatch(text):
        return text.lower()
    match = _SHORT_UUID.fullmatch(text) if len(text) <= _UUID_LENGTH else None
    if match is None:
        return None
    groups = [int(group, 16) for group in match.groups()]
    if any(group >= 1 << 63 for group in groups):
        return None
    return "-".join(f"{group % 16**size:0{size}x}" for group, size in zip(groups, (8, 4, 4, 4, 12), strict=True))


def is_plain(value: Any) -> bool:
    """Whether getAsString works."""
    return text_of(value) is not None


def is_double(value: Any) -> bool:
    """Whether getAsDouble works."""
    return double_of(value) is not None


def is_finite(value: Any) -> bool:
    """Whether getAsDouble gives a finite number."""
    number = double_of(value)
    return number is not None and math.isfinite(number)


def is_integer(value: Any) -> bool:
    """Whether getAsInt works."""
    return int_of(alone(value)) is not None
