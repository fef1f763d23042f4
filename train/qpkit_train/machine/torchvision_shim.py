"""Make torchvision importable beside a CPU torch. Has to run before the first import of timm or smp.

The torchvision on PyPI is linked against CUDA. Beside a CPU build of torch its extension does not load, the operators
nms and qnms are never declared, and `import torchvision` dies of "operator torchvision::nms does not exist" (seen with
torch 2.13.0+cpu and torchvision 0.28.0). Declaring the two operators without an implementation lets the rest of
torchvision work; only non-maximum suppression, which no segmentation needs, stays broken.
"""

from __future__ import annotations

import functools
import importlib
import sys
import warnings

import torch

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@functools.cache
def ensure_torchvision() -> bool:
    """Import torchvision, declaring its missing operators if that is what it fails of.

    Returns:
        Whether the cure was needed. The answer is kept: the operators can be declared once per process only.

    Raises:
        RuntimeError: torchvision fails of something else.
        ImportError: torchvision is not installed.
    """
    try:
        _import_quietly()
    except RuntimeError as err:
        if "torchvision::nms" not in str(err):
            raise
        _declare_operators()
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        _import_quietly()
        return True
    return False


def _import_quietly() -> None:
    """Leave out torchvision's warning that its image extension did not load; tiles are read by Pillow."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("torchvision")


@functools.cache
def _declare_operators() -> torch.library.Library:
    """Declare the operators; the cache keeps the library alive, which keeps them declared."""
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call] # torch leaves it untyped
    for schema in _OPERATORS:
        library.define(schema)  # type: ignore[no-untyped-call] # as above
    return library
