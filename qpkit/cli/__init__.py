"""The command line: parses, calls one function, shows its report, maps errors to exit codes.

Exit codes: 0 done, 1 something in the input or the system (one line on stderr), 2 wrong usage.
"""

from __future__ import annotations

import os
import sys

import typer

from qpkit.cli.shared.console import fail
from qpkit.cli.shared.verbs import VerbGroup
from qpkit.errors import INTERRUPTED, QpkitError

_INTERRUPTED = 130
_LAUNCHED = "TORCHELASTIC_RUN_ID"
"""In the environment of processes that torchrun, or --devices, started."""

_REASON = 100
"""Characters of the reason why a package cannot be imported."""

app = typer.Typer(
    cls=VerbGroup,
    help="From QuPath annotations to a trained segmentation model and back, without QuPath or Java.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(show: bool) -> None:
    if show:
        from qpkit.version import __version__

        typer.echo(f"qpkit {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
    backend: str = typer.Option(
        "native",
        envvar="QPKIT_BACKEND",
        help="native, or paquo: read and write objects through an installed QuPath (needs qpkit\\[paquo]).",
    ),
) -> None:
    """From QuPath annotations to a trained segmentation model and back, without QuPath or Java."""
    if backend != "native":
        from qpkit.qupath.project.backend import use_backend

        context.with_resource(use_backend(backend))


def main(args: list[str] | None = None) -> None:
    """Run the command line; never shows a traceback for what a user can cause.

    Typer itself ends with 2 on wrong usage and, silently, with 130 on Ctrl-C.
    """
    try:
        app(args)
    except SystemExit as end:
        if end.code != _INTERRUPTED:
            raise
        if _LAUNCHED in os.environ:  # one of several processes: the one that started them speaks
            sys.exit(1)
        fail(INTERRUPTED)
    except QpkitError as err:
        fail(str(err))
    except ImportError as err:
        if (err.name or "").startswith("qpkit"):  # our own mistake
            raise
        fail(f"{err.name or 'a package'} cannot be imported ({str(err)[:_REASON]}); see what is broken: qpkit doctor")
    except MemoryError as err:
        fail(f"out of memory ({err}); choose smaller tiles or batches")
    except OSError as err:
        fail(f"{err.filename or 'system'}: {err.strerror or err}")
