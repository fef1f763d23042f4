"""The program's entry; `python -m qpkit` is what torchrun needs: torchrun --nproc-per-node 4 -m qpkit train ..."""

from __future__ import annotations

import sys

from qpkit.errors import INTERRUPTED


def main() -> None:
    """Run the command line; Ctrl-C is one line from the first moment on, also while it is imported."""
    try:
        from qpkit.cli import main as run
        from qpkit.cli.shared.interrupt import watch_interrupts

        watch_interrupts()
        run()
    except KeyboardInterrupt:
        sys.stderr.write(f"qpkit: {INTERRUPTED}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
