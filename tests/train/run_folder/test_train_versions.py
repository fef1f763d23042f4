"""What runs and models say of the packages behind them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata

import pytest

from qpkit.version import __version__
from qpkit_train.inference.prompts import sam
from qpkit_train.inference.running import onnx_session
from qpkit_train.run_folder import records


@pytest.mark.parametrize(
    ("versions", "needed"),
    [(records.versions, "torch"), (onnx_session.versions, "onnxruntime"), (sam._versions, "transformers")],
)
def test_versions_are_said_where_qpkit_is_on_the_path_and_not_installed(
    versions: Callable[[], dict[str, str]], needed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor onnxruntime by that name: onnxruntime-gpu brings it."""
    pytest.importorskip(needed)
    asked = metadata.version

    def version(name: str) -> str:
        if name in ("qpkit", "onnxruntime"):
            raise metadata.PackageNotFoundError(name)
        return asked(name)

    monkeypatch.setattr(metadata, "version", version)
    found = versions()
    assert found["qpkit"] == __version__ and found[needed][0].isdigit()
