"""Where GeoJSON text comes from: a plain file, a gzipped one, or the files inside a zip; always chunk by chunk.

Knows containers, no JSON. What a file is, its first bytes say, not its name.
"""

from __future__ import annotations

import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal

from qpkit.errors import FormatError, ProjectError
from qpkit.files import AnyPath

CHUNK_BYTES: Final = 1 << 17
"""What is decoded from such a piece stays in the processor's cache: twice as fast as pieces of 512 kB or more."""

TEXT_ENDINGS: Final = (".geojson", ".json")

_BOM: Final = b"\xef\xbb\xbf"
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")

Container = Literal["plain", "gzip", "zip"]


@dataclass(frozen=True, slots=True)
class Document:
    """One JSON text.

    Args:
        name: For messages: the path, inside a zip "a.zip/b.geojson".
        chunks: The text in order, without a byte order mark; empty chunks do not occur. May raise FormatError.
    """

    name: str
    chunks: Iterator[bytes]


def container_of(path: AnyPath) -> Container:
    """Say what a file is by its first bytes.

    Raises:
        ProjectError: There is no such file, or it cannot be read.
    """
    with _reading(Path(path)), Path(path).open("rb") as file:
        start = file.read(4)
    return "zip" if start in _ZIP else "gzip" if start.startswith(_GZIP) else "plain"


def open_documents(path: AnyPath) -> Iterator[Document]:
    """Give the JSON texts of a file, each to be read before the next; in bounded memory also from a zip bomb.

    Of a zip, these are the members that end in .geojson or .json (also gzipped), in its order.

    Raises:
        FormatError: Damaged or truncated, or a zip without such members.
        ProjectError: There is no such file, or it cannot be read.
    """
    file = Path(path)
    kind = container_of(file)
    if kind == "zip":
        yield from _members(file)
        return
    with _reading(file), file.open("rb") as raw:
        yield Document(str(file), _chunks(raw, str(file)))


def _members(file: Path) -> Iterator[Document]:
    with _reading(file), zipfile.ZipFile(file) as archive:
        names = [item for item in archive.infolist() if not item.is_dir() and _is_text(item.filename)]
        if not names:
            raise FormatError(f"{file}: the zip holds no .geojson or .json file")
        for item in names:
            with archive.open(item) as raw:
                name = f"{file}/{item.filename}"
                yield Document(name, _chunks(raw, name))


def _is_text(name: str) -> bool:
    lower = name.lower()
    # What macOS packs beside each file ("._a.geojson") has the file's ending, but is no JSON.
    hidden = lower.startswith("__macosx/")
    return not hidden and lower.removesuffix(".gz").endswith(TEXT_ENDINGS)


def _chunks(raw: IO[bytes], name: str) -> Iterator[bytes]:
    try:
        head = raw.read(CHUNK_BYTES)
        if head.startswith(_GZIP):
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield from _without_bom(unpacked.read(CHUNK_BYTES), unpacked, name)
        else:
            yield from _without_bom(head, raw, name)
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, OSError) as err:
        if isinstance(err, OSError) and err.errno is not None:  # the disk, not the content
            raise ProjectError(f"{name}: cannot be read ({err.strerror})") from err
        raise FormatError(f"{name}: not JSON but a damaged or truncated compressed file ({err})") from err


def _without_bom(head: bytes, raw: IO[bytes] | gzip.GzipFile, name: str) -> Iterator[bytes]:
    if head.startswith(_UTF_16):
        raise FormatError(f"{name}: the text is UTF-16, which QuPath does not read; save it as UTF-8")
    chunk = head.removeprefix(_BOM)
    while chunk:
        yield chunk
        chunk = raw.read(CHUNK_BYTES)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except zipfile.BadZipFile as err:
        raise FormatError(f"{file}: not a whole zip file ({err})") from err
    except (RuntimeError, NotImplementedError) as err:  # encrypted, or an unknown compression
        raise FormatError(f"{file}: the zip cannot be unpacked ({err})") from err
    except OSError as err:
        raise ProjectError(f"{file}: cannot be read ({err.strerror or err})") from err
