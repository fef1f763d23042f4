"""Says what is wrong with what a wheel and an sdist hold: python .ci/contents.py dist/*.whl dist/*.tar.gz.

All files of the two packages that git tracks have to be in both. The wheel has nothing else, and no samples or tests
are in either.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

HOMES = {"qpkit": "qpkit", "train/qpkit_train": "qpkit_train"}
"""Folder of a package in the repository, and its name where it is installed."""

NOT_SHIPPED = {"samples", "tests", "benchmarks", "shared"}


def tracked() -> set[str]:
    """Files of the packages that git tracks, by their path in the repository."""
    listed = subprocess.run(["git", "ls-files", "-z", *HOMES], capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.split("\0") if name}


def installed(name: str) -> str:
    """Where a file of the repository stands in the wheel."""
    home = next(home for home in HOMES if name.startswith(f"{home}/"))
    return HOMES[home] + name.removeprefix(home)


def faults(path: Path) -> list[str]:
    """What is missing in a wheel or an sdist, and what should not be there."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            there = set(archive.namelist())
        tops = {*HOMES.values(), *(name.split("/")[0] for name in there if ".dist-info/" in name)}
        strange = {name for name in there if name.split("/")[0] not in tops}
        wanted = {installed(name) for name in tracked()}
    else:
        with tarfile.open(path) as archive:
            there = {str(PurePosixPath(*PurePosixPath(each.name).parts[1:])) for each in archive if each.isfile()}
        strange = {name for name in there if NOT_SHIPPED & set(name.split("/")[:1])}
        wanted = tracked() | {"README.md", "LICENSE", "pyproject.toml", "constraints.txt"}
    missing = [f"{path.name}: {name} is missing" for name in sorted(wanted - there)]
    return missing + [f"{path.name}: {name} should not be there" for name in sorted(strange)]


def main() -> None:
    """Print the faults of the files named, exit with 1 if there are some."""
    found = [fault for name in sys.argv[1:] for fault in faults(Path(name))]
    sys.stdout.write("".join(f"{fault}\n" for fault in found))
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
