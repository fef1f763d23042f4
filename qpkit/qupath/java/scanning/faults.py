"""What can be wrong with a stream: a number for the scan, which raises nothing itself, and a sentence for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

(
    SHORT,
    BAD_CODE,
    BAD_HANDLE,
    LONG_STRING,
    LONG_BLOCK,
    BAD_COUNT,
    TOO_DEEP,
    CLASS_TOO_DEEP,
    NO_CLASS,
    NO_STRING,
    CLASSLESS,
    NOT_SERIALIZABLE,
    OLD_PROTOCOL,
    NO_ARRAY,
    NO_ENUM,
    BOTH_KINDS,
    FIELD_TYPE,
    FIELD_ORDER,
    BAD_PROXY,
    INNER_RESET,
    TOO_DENSE,
) = range(1, 22)

MESSAGES: Final[Mapping[int, str]] = {
    SHORT: "the stream ends, or a length is wrong: {0} bytes wanted, {1} left",
    BAD_CODE: "unexpected or unsupported type code 0x{0:02x}",
    BAD_HANDLE: "a reference to handle {0}, of which there are {1}",
    LONG_STRING: "a long string of {0} bytes, which Java writes as a short one",
    LONG_BLOCK: "a long block of {0} bytes, which Java writes as a short one",
    BAD_COUNT: "an array of {0} elements, with {1} bytes left",
    TOO_DEEP: "objects are nested more than {0} deep",
    CLASS_TOO_DEEP: "more than {0} classes inside each other",
    NO_CLASS: "a reference to something that is no (finished) class",
    NO_STRING: "a string is expected",
    CLASSLESS: "an object without a class",
    NOT_SERIALIZABLE: "an object of a class that cannot be serialized",
    OLD_PROTOCOL: "an object in the old stream protocol 1",
    NO_ARRAY: "something that is no array class is used as an array",
    NO_ENUM: "something that is no enum is used as an enum",
    BOTH_KINDS: "a class is serializable and externalizable at once",
    FIELD_TYPE: "a field has the unknown type 0x{0:02x}",
    FIELD_ORDER: "a class has primitive fields behind object fields",
    BAD_PROXY: "a proxy class with {0} interfaces",
    INNER_RESET: "a reset in the middle of an object",
    TOO_DENSE: "more than one value in four bytes, as no QuPath file has,",
}
"""What went wrong; {0} and {1} are the two numbers that come with it."""
