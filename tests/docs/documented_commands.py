"""The commands that README.md and docs/*.md show: `qpkit ...` in blocks, fenced or indented, and in sentences."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared_data import DOCS, ROOT

PAGES: Final = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))

SHELLS: Final = ("", "sh", "bash", "console")
"""What a block of commands says of itself."""

_BLOCK: Final = re.compile(
    r"^(?P<fence>```)(?P<kind>[^\n]*)\n(?P<fenced>.*?)^```[ ]*$"  # the indent of a fence in a list is not used here
    r"|(?<=\n\n)(?P<indented>(?:[ ]{4}[^\n]*\n|\n(?=[ ]{4}))+)",
    flags=re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Command:
    """One call of qpkit, as a page shows it."""

    page: str
    line: int
    text: str
    """From "qpkit" on, on one line, without the remark behind it."""

    @property
    def words(self) -> list[str]:
        """What the shell makes of it, without "qpkit"."""
        return shlex.split(self.text)[1:]

    @property
    def verb(self) -> str:
        """What qpkit is to do; for `qpkit project` the first of two words."""
        return self.words[0] if self.words else ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> list[list[Command]]:
    """The blocks of a page that have commands, each with its commands from top to bottom."""
    text = page.read_text(encoding="utf-8")
    found = []
    for block in _BLOCK.finditer(text):
        name = "indented" if block["indented"] else "fenced"
        if name == "indented" or block["kind"].strip() in SHELLS:
            first = text.count("\n", 0, block.start(name)) + 1
            found.append(list(_commands(page.name, first, block[name])))
    return [commands for commands in found if commands]


def _commands(page: str, line: int, block: str) -> Iterator[Command]:
    for part in re.findall(r"(?:[^\n]*\\\n)*[^\n]*\n", block):
        joined = re.sub(r"\\\n\s*", "", part).strip()
        call = re.search(r"(?:^|-m )(qpkit .*)$", joined)
        if call:
            yield Command(page, line, re.sub(r"\s+# .*", "", call[1]))
        line += part.count("\n")


def inline_of(page: Path) -> list[Command]:
    """What stands between backticks in the text of a page, up to the first word that only stands for others."""
    text = _BLOCK.sub(lambda block: "\n" * block[0].count("\n"), page.read_text(encoding="utf-8"))
    return [
        Command(page.name, text.count("\n", 0, found.start()) + 1, found[1].replace(r"\|", "|"))
        for found in re.finditer(r"`(qpkit [^`\n]+)`", text)
    ]
