"""Rewrite the tables in docs/*.md that are made from the code: what stands between <!-- NAME --> and <!-- /NAME -->.

python docs/make_tables.py            rewrites them in place
python docs/make_tables.py --check    only says which are out of date (exit code 1)
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from qpkit.workflows.convert.formats import formats_markdown, rules_markdown

PAGES: Final = Path(__file__).parent

TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "formats": formats_markdown,
    "format rules": rules_markdown,
}
"""What stands between the marks of that name."""

_BLOCK: Final = re.compile(r"<!-- (?P<name>[^/>][^>]*) -->\n(?P<made>.*?)\n<!-- /(?P=name) -->", re.DOTALL)


def rewritten(text: str) -> str:
    """Make the tables of a page anew; marks of other names stay as they are."""

    def block(found: re.Match[str]) -> str:
        name = found["name"]
        return f"<!-- {name} -->\n{TABLES[name]()}\n<!-- /{name} -->" if name in TABLES else found[0]

    return _BLOCK.sub(block, text)


def stale_pages() -> dict[Path, str]:
    """List the pages whose tables are not those of the code, with the text that they should have.

    Raises:
        ValueError: A table stands on no page.
    """
    pages = {path: path.read_text(encoding="utf-8") for path in sorted(PAGES.glob("*.md"))}
    missing = set(TABLES) - {found["name"] for text in pages.values() for found in _BLOCK.finditer(text)}
    if missing:
        raise ValueError(f"no page in {PAGES} has the marks of {', '.join(sorted(missing))}")
    made = {path: rewritten(text) for path, text in pages.items()}
    return {path: text for path, text in made.items() if text != pages[path]}


def main() -> int:
    """Rewrite or check; the exit code is 1 if something is out of date and was only checked."""
    parser = argparse.ArgumentParser(description="Make the tables in docs/*.md from the code.")
    parser.add_argument("--check", action="store_true", help="only say which pages are out of date")
    check = parser.parse_args().check
    stale = stale_pages()
    for path, text in stale.items():
        sys.stderr.write(f"{path.name}: {'out of date' if check else 'rewritten'}\n")
        if not check:
            path.write_text(text, encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
