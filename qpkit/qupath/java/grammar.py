"""The numbers of a Java serialization stream, and how far qpkit follows it.

Source: "Java Object Serialization Specification", chapter 6 (stream version 5).
"""

from __future__ import annotations

from typing import Final

MAGIC: Final = b"\xac\xed\x00\x05"
TC_NULL: Final = 0x70
TC_REFERENCE: Final = 0x71
TC_CLASSDESC: Final = 0x72
TC_OBJECT: Final = 0x73
TC_STRING: Final = 0x74
TC_ARRAY: Final = 0x75
TC_CLASS: Final = 0x76
TC_BLOCKDATA: Final = 0x77
TC_ENDBLOCKDATA: Final = 0x78
TC_RESET: Final = 0x79
TC_BLOCKDATALONG: Final = 0x7A
TC_LONGSTRING: Final = 0x7C
TC_PROXYCLASSDESC: Final = 0x7D
TC_ENUM: Final = 0x7E
FIRST_HANDLE: Final = 0x7E0000

WRITE_METHOD: Final = 0x01
SERIALIZABLE: Final = 0x02
EXTERNALIZABLE: Final = 0x04
BLOCK_DATA: Final = 0x08
ENUM: Final = 0x10

MAX_DEPTH: Final = 20_000
"""Objects inside objects; deeper is refused. Memory only: the scan does not recurse."""

MAX_CLASS_DEPTH: Final = 60
"""Superclasses of a class, and class descriptions inside each other."""
