"""The packages that qpkit needs, and those that its extras bring: as its own metadata lists them."""

from __future__ import annotations

import importlib
import platform
import re
from collections.abc import Iterator
from importlib import metadata
from typing import Final

from qpkit.report.values.checks import Check
from qpkit.version import UNKNOWN, __version__

_MODULES: Final = {
    "imagecodecs": "imagecodecs",
    "openslide-bin": "openslide_bin",
    "openslide-python": "openslide",
    "pillow": "PIL",
    "scikit-image": "skimage",
}
"""How a package is imported, where that is not its name with _ for -."""

_SAME: Final = {
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime-directml"),
    "opencv-python-headless": ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
}
"""Packages that bring the same module, by the one that qpkit asks for."""

_REQUIREMENT: Final = re.compile(r"(?P<name>[\w.-]+)(?P<of>\[[^]]*\])?[^;]*(;.*extra == [\"'](?P<extra>[\w-]+)[\"'])?")

_DEVELOPERS: Final = "dev"


def package_checks() -> Iterator[Check]:
    """Versions of qpkit and Python, the packages of the core (each is imported), OpenSlide, the extras."""
    yield Check("qpkit", "ok", __version__)
    yield Check("Python", "ok", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    needed = requirements()
    if not needed:
        yield Check("packages", "warning", f"qpkit {UNKNOWN} is not installed", "pip install qpkit")
        return
    yield from _core_checks(needed.pop("", ()))
    yield _openslide_check()
    yield from _extra_checks({name: packages for name, packages in needed.items() if name != _DEVELOPERS})


def requirements() -> dict[str, tuple[str, ...]]:
    """Packages that qpkit asks pip for, by extra; "" is the core. Empty where qpkit is not installed."""
    try:
        listed = metadata.requires("qpkit") or ()
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, list[str]] = {}
    for line in listed:
        match = _REQUIREMENT.match(line)
        if match is not None and match["name"] != "qpkit":  # an extra that takes in another one
            found.setdefault(match["extra"] or "", []).append(match["name"])
    return {name: tuple(packages) for name, packages in found.items()}


def _core_checks(packages: tuple[str, ...]) -> Iterator[Check]:
    faults = [(name, fault) for name in packages if (fault := import_fault(name))]
    if not faults:
        yield Check("packages", "ok", f"all {len(packages)} of the core can be imported")
    for name, fault in faults:
        yield Check(name, "broken", fault, f"pip install --force-reinstall {name}")


def import_fault(package: str) -> str:
    """Why a package cannot be imported; "" if it can."""
    module = _MODULES.get(package, package.replace("-", "_"))
    try:
        importlib.import_module(module)
    except Exception as err:  # noqa: BLE001 # a broken library raises whatever it likes
        return f"{type(err).__name__}: {str(err).splitlines()[0] if str(err) else module}"
    return ""


def _openslide_check() -> Check:
    try:
        import openslide

        return Check("OpenSlide", "ok", str(openslide.__library_version__))
    except Exception as err:  # noqa: BLE001 # a library that is not there is an OSError, or another one
        return Check("OpenSlide", "broken", str(err).split("\n")[0], "pip install --force-reinstall openslide-bin")


def _extra_checks(extras: dict[str, tuple[str, ...]]) -> Iterator[Check]:
    lacking = {name: [each for each in packages if not _is_installed(each)] for name, packages in extras.items()}
    there = [name for name, packages in lacking.items() if not packages]
    yield Check("extras", "ok", ", ".join(there) or "none")
    absent = [name for name, packages in lacking.items() if packages and name != "train"]
    if absent:
        yield Check("other extras", "missing", ", ".join(absent), "for those you need: pip install 'qpkit[NAME]'")
    if lacking.get("train"):
        found = f"{', '.join(lacking['train'])} not installed"
        yield Check("training", "missing", found, "to train and predict: pip install 'qpkit[train]'")


def _is_installed(package: str) -> bool:
    return any(_has_version(each) for each in (package, *_SAME.get(package, ())))


def _has_version(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
