"""Java's "modified UTF-8": NUL as two bytes, characters beyond U+FFFF as two surrogates of three bytes each.

Source: java.io.DataInput, "Modified UTF-8". Lone surrogates, which Java strings may hold, stay as they are.
"""

from __future__ import annotations

import re

_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")


def encode(text: str) -> bytes:
    """Encode; lone surrogates become three bytes, as in Java."""
    if text.isascii() and "\0" not in text:
        return text.encode("ascii")
    split = _ASTRAL.sub(lambda match: _split(match.group()), text)
    return split.encode("utf-8", "surrogatepass").replace(b"\0", b"\xc0\x80")


def decode(raw: bytes) -> str:
    """Decode what Java's writer makes; anything else (raw NUL, four-byte forms, overlong forms) is refused.

    Raises:
        ValueError: Not what Java writes.
    """
    if raw.isascii() and b"\0" not in raw:
        return raw.decode("ascii")
    if b"\0" in raw:
        raise ValueError("a raw NUL")
    text = raw.replace(b"\xc0\x80", b"\0").decode("utf-8", "surrogatepass")
    if _ASTRAL.search(text):
        raise ValueError("a four-byte form")
    return _PAIR.sub(lambda match: _join(match.group()), text)


def _split(character: str) -> str:
    """Turn one character beyond U+FFFF into its two surrogates."""
    offset = ord(character) - 0x10000
    return chr(0xD800 + (offset >> 10)) + chr(0xDC00 + (offset & 0x3FF))


def _join(pair: str) -> str:
    """Turn two surrogates into the character they stand for."""
    return chr(0x10000 + ((ord(pair[0]) - 0xD800) << 10) + ord(pair[1]) - 0xDC00)
