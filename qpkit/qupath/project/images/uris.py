"""File URIs <-> paths as text, for any system on any system, and QuPath's re-basing of moved projects.

Nothing here touches a disk: a Windows URI is read the same way on Linux.
Source: java.nio.file.Path.toUri, java.io.File.toURI (both forms occur in projects), and qupath.lib.projects /
UriUpdater (v0.7.0).
"""

from __future__ import annotations

import re
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from qpkit.errors import FormatError

_DRIVE: Final = re.compile(r"/?[A-Za-z]:(/|$)")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SAFE: Final = "/:@!$&'()*+,;=~"


def file_path(uri: str) -> PurePath | None:
    r"""Read a file URI.

    "file:/a/b", "file:///a/b" and "file://localhost/a/b" are the same. A drive letter or a host gives a Windows path:
    "file:///C:/a", "file://server/share/a" and "file:////server/share/a" (the two UNC forms Java writes).

    Returns:
        PurePosixPath or PureWindowsPath; None for another scheme (OMERO's https).

    Raises:
        FormatError: Without a scheme, with a broken escape, or with raw blanks or backslashes. QuPath cannot load
            a project with such a URI.
    """
    if not _SCHEME.match(uri):
        raise FormatError(f"{uri!r} is not a URI (it lacks 'file:')")
    if uri[:5].lower() != "file:":
        return None
    if _BAD_ESCAPE.search(uri) or re.search(r"[\s\\]", uri):
        raise FormatError(f"{uri!r} is not a valid URI: blanks and backslashes must be percent-encoded")
    host, path = _split(re.split(r"[?#]", uri[5:], maxsplit=1)[0])
    text = _unquote(path, uri)
    if host:
        return PureWindowsPath(f"//{_unquote(host, uri)}{text}")
    if _DRIVE.match(text):
        return PureWindowsPath(text.lstrip("/"))
    return PurePosixPath(text)


def _split(rest: str) -> tuple[str, str]:
    """Split what follows "file:" into host and path."""
    if rest.startswith("////") and not rest.startswith("/////"):  # File.toURI of a UNC path
        host, slash, path = rest[4:].partition("/")
        return host, slash + path
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        return ("" if host == "localhost" else host), slash + path
    return "", rest


def _unquote(text: str, uri: str) -> str:
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError as err:
        raise FormatError(f"{uri!r} is not a valid URI: its escapes are not UTF-8") from err


def file_uri(path: PurePath) -> str:
    """Write an absolute path as a URI in the form of Java's Path.toUri ("file:///a/b%20c").

    Raises:
        FormatError: A relative path; QuPath opens no relative URIs.
    """
    text = path.as_posix()
    if not path.is_absolute():
        raise FormatError(f"{text!r} is relative; QuPath needs absolute file URIs")
    quoted = quote(text, safe=_SAFE)
    # A UNC path has its host in front already.
    if text.startswith("//"):
        return f"file:{quoted}"
    return f"file://{quoted}" if text.startswith("/") else f"file:///{quoted}"


def rebased(path: PurePath, old_folder: PurePath, new_folder: PurePath) -> PurePath | None:
    """Move a path along with its project, as QuPath does for missing images.

    The path relative to `old_folder` (with ".." where needed) is applied to `new_folder`.

    Args:
        path: Of the image, as stored.
        old_folder: Where the project was when it was saved.
        new_folder: Where the project is.

    Returns:
        The new place, without "..", in the flavour of `new_folder`; None if the two have no common drive or host.
    """
    if type(path) is not type(old_folder) or path.anchor.lower() != old_folder.anchor.lower():
        return None
    parts, base = path.parts[1:], old_folder.parts[1:]
    same = 0
    while same < min(len(parts), len(base)) and _equal(parts[same], base[same], path):
        same += 1
    ups = len(base) - same
    if ups > len(new_folder.parts) - 1:
        return None
    folder = new_folder if ups == 0 else new_folder.parents[ups - 1]
    return folder.joinpath(*parts[same:])


def _equal(one: str, other: str, path: PurePath) -> bool:
    """Compare names as the system of `path` does."""
    return one == other or (isinstance(path, PureWindowsPath) and one.lower() == other.lower())
