"""Comments on a region, as HALO has them: a text, who wrote it and when <-> metadata of an object."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from qpkit.formats.shared.other_values import DESCRIPTION, as_metadata
from qpkit.formats.shared.xml_files import xml_metadata

_BODY: Final = "Body"
_DETAILS: Final = ("Author", "CreatedTime", "ModifiedTime")
_KEY: Final = re.compile(rf"comment(?: ([1-9]\d?))?: ({'|'.join(_DETAILS)})")
"""Of an only comment, or of the first, second ... 99th of several."""


def read_comments(comments: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Make metadata of comments: QuPath's description of their texts, a line each, and who wrote them and when.

    Args:
        comments: "Body", "Author", "CreatedTime" and "ModifiedTime" of each; blank ones and others say nothing.
    """
    bodies = [comment.get(_BODY, "") for comment in comments]
    said = [(DESCRIPTION, "\n".join(body for body in bodies if body.strip()))]
    for number, comment in enumerate(comments, start=1):
        name = "comment" if len(comments) == 1 else f"comment {number}"
        said += [(f"{name}: {key}", comment.get(key, "")) for key in _DETAILS]
    return {key: text for key, text in as_metadata(said).items() if text.strip()}


def comment_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Pick the metadata that comments can hold: the description and, of one or of several comments, their details."""
    texts = xml_metadata(metadata)
    matches = {key: found for key in texts if (found := _KEY.fullmatch(key))}
    are_several = any(found[1] for found in matches.values())
    kept = {key for key, found in matches.items() if bool(found[1]) == are_several}
    return {key: text for key, text in texts.items() if key in kept or key == DESCRIPTION}


def write_comments(metadata: Mapping[str, str]) -> list[dict[str, str]]:
    """Make comments of what `comment_metadata` picks; `read_comments` gives it again.

    The lines of the description are the texts of the comments if there are as many, else it is that of the first.
    """
    kept = comment_metadata(metadata)
    description = kept.pop(DESCRIPTION, "")
    details: dict[int, dict[str, str]] = {}
    are_several = False
    for key, text in kept.items():
        found = _KEY.fullmatch(key)
        assert found is not None
        are_several |= bool(found[1])
        details.setdefault(int(found[1] or 1), {})[found[2]] = text
    count = max(2, *details) if are_several else int(bool(details or description))
    lines = description.split("\n")
    bodies = lines if len(lines) == count and all(map(str.strip, lines)) else [description]
    texts = [{_BODY: body} if body else {} for body in bodies]
    return [(texts[index] if index < len(texts) else {}) | details.get(index + 1, {}) for index in range(count)]
