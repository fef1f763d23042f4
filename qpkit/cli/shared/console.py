"""How qpkit talks: progress and words on stderr, results on stdout, colours only for people."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import typer
from rich.box import Box
from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

BROKEN = 2
"""Exit code of work that was done without some of its slides, because they cannot be read."""

_RULE_BELOW_HEAD: Final = Box("    \n    \n ─  \n    \n    \n    \n    \n    \n")
"""Lines of a table: one below the head, with a gap between columns."""

_BETWEEN: Final = 2
"""Characters between two columns of a table."""

_LINE_SECONDS = 10.0
"""Between two plain progress lines when nobody watches."""


def out() -> Console:
    """The console for results; 120 columns when it is no terminal, so that tables do not break."""
    return Console(width=None if sys.stdout.isatty() else 120, highlight=False)


def say(text: str) -> None:
    """Tell a person something (stderr)."""
    typer.echo(text, err=True)


def say_all(beginning: str, texts: Iterable[object]) -> None:
    """Say each text on a line of its own, all with the same beginning."""
    for text in texts:
        say(f"{beginning}{text}")


def fail(text: str) -> NoReturn:
    """One line on stderr, exit code 1."""
    line = " ".join(text.split())
    typer.secho(f"qpkit: {line}", err=True, fg="red" if sys.stderr.isatty() else None)
    sys.exit(1)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


@contextmanager
def progress(verb: str) -> Iterator[Callable[[int, int, str], None]]:
    """Give an on_progress: a live bar with rate and time left on a terminal, a plain line now and then elsewhere."""
    if sys.stderr.isatty():
        with _bar(verb) as update:
            yield update
    else:
        yield _plain_lines(verb)


@contextmanager
def _bar(verb: str) -> Iterator[Callable[[int, int, str], None]]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(verb, total=None)

        def update(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total, description=f"{verb} {text}"[:60])

        yield update


def _plain_lines(verb: str) -> Callable[[int, int, str], None]:
    start = last = time.monotonic()
    before = 0

    def update(done: int, total: int, text: str) -> None:
        nonlocal start, last, before
        now = time.monotonic()
        if done < before:  # the next of several things begins, with a pace of its own
            start = now
        before = done
        if now - last < _LINE_SECONDS or not done:
            return
        last = now
        pace = ""
        if now > start:  # what has just begun has none
            rate = done / (now - start)
            pace = f" ({rate:.1f}/s, {(total - done) / rate:.0f} s left)"
        say(f"{verb}: {done}/{total} {text}{pace}")

    return update


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, width: int | None = None) -> None:
    """Print a table, at most `width` characters wide (that of the terminal); numbers stand right.

    One that is wider is printed in parts, one below the other, each of which begins with the first column.
    """
    console = out()
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(cell_len(name), *(cell_len(row[i]) for row in cells), 0) for i, name in enumerate(columns)]
    for number, part in enumerate(_parts(widths, width or console.width)):
        shown = title if not number else f"{title} (continued)".strip()
        grid = Table(
            box=_RULE_BELOW_HEAD,
            show_edge=False,
            show_header=any(columns),
            pad_edge=False,
            collapse_padding=True,
        )
        for i in part:
            numeric = bool(rows) and all(_is_number(row[i]) for row in rows)
            grid.add_column(Text(columns[i]), justify="right" if numeric else "left", overflow="fold")
        for row in cells:
            grid.add_row(*(Text(row[i]) for i in part))
        if shown:
            console.print(Text(shown, style="bold"))
        console.print(grid, width=width)
        console.print()


def _parts(widths: Sequence[int], limit: int) -> list[list[int]]:
    """Which columns stand side by side, so that no line is longer than `limit`, where one column allows it."""
    parts: list[list[int]] = [[0]] if widths else []
    room = limit - (widths[0] if widths else 0)
    for i in range(1, len(widths)):
        room -= widths[i] + _BETWEEN
        if room < 0 and len(parts[-1]) > 1:
            parts.append([0])
            room = limit - widths[0] - widths[i] - _BETWEEN
        parts[-1].append(i)
    return parts


def table_of(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table on stdout; the keys of the rows, which are the same for all, head the columns."""
    table(title, tuple(rows[0]), [tuple(row.values()) for row in rows])


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, int | float)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1e3 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def took(start: float) -> str:
    """ "12.3 s, 410 MB at most": wall time since `start` (time.perf_counter) and the process's peak memory."""
    seconds = f"{time.perf_counter() - start:.1f} s"
    try:
        import resource
    except ImportError:  # Windows has no resource module
        return seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes on Linux, bytes on macOS.
    megabytes = peak / 1024 if sys.platform != "darwin" else peak / 1024**2
    return f"{seconds}, {megabytes:.0f} MB of memory at most"
