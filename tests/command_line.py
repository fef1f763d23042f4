"""The command line as a user calls it, in this process."""

from __future__ import annotations

from qpkit.cli import main


def run(*arguments: object) -> int:
    """Run `qpkit ARGUMENTS`; gives the exit code."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0
