from __future__ import annotations

import subprocess
import sys

import pytest

import qpkit
from qpkit.errors import MissingExtraError
from qpkit.extras import extra


def test_a_missing_module_says_what_to_install() -> None:
    said = r"nowhere_at_all is not installed \(why not\); pip install 'qpkit\[zarr\]'"
    with pytest.raises(MissingExtraError, match=said), extra("zarr", why="why not"):
        import nowhere_at_all  # noqa: F401 # type: ignore[import-not-found]


def test_a_module_of_our_own_that_is_missing_is_our_own_mistake() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"qpkit\.nowhere"), extra("train"):
        import qpkit.nowhere  # noqa: F401 # type: ignore[import-not-found]


def test_the_package_costs_nothing_and_has_the_loop() -> None:
    code = "import sys, qpkit; print([m for m in ('numpy', 'torch', 'shapely', 'typer') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    for name in ("export", "train", "predict", "import_predictions", "evaluate", "convert", "open_project"):
        assert callable(getattr(qpkit, name)), name
    assert qpkit.__version__
