"""The Python examples of the docs, run one after the other as a reader would."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import qpkit
import qpkit.core.label_file as label_map_module
from qpkit.core.labels import parse_label_map
from shared_data import DOCS

CONTRACTS = ("class", "background", "ignore", "unannotated", "unlisted", "regions", "ignored")
"""Keys of a labels.toml that docs/contracts.md explains."""


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_examples_of_the_qupath_page_run(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert study == tmp_path / "study"
    names: dict[str, object] = {}
    for block in blocks("qupath.md"):
        exec(compile(block, "docs/qupath.md", "exec"), names)
    said = capsys.readouterr().out
    assert ("um2 of tumour" in said and "written: True" in said and "no QuPath data file" in said) or "stream" in said
    assert len(blocks("qupath.md")) >= 6


def test_the_label_maps_of_the_labels_page_are_label_maps() -> None:
    page = (DOCS / "labels.md").read_text(encoding="utf-8")
    found = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    others = "".join(
        f'\n[[class]]\nname = "{name}"\nvalue = {value}\n'
        for value, name in enumerate(("Stroma", "Tumor", "Necrosis"), start=11)
    )
    maps = [parse_label_map(block + others, source="docs/labels.md") for block in found]
    assert [len(labels.classes) for labels in maps] == [5, 5, 4]
    for key in label_map_module._LabelTable.__struct_encode_fields__:
        assert f"`{key} = " in page or f"[{key}]" in page or key in CONTRACTS, key


def test_every_public_name_is_there_and_on_the_page() -> None:
    page = "".join((DOCS / name).read_text(encoding="utf-8") for name in ("python.md", "qupath.md"))
    for name in qpkit.__all__:
        assert getattr(qpkit, name).__doc__
        assert name in page or name in ("Annotation", "Entry", "Plane", "Project"), name
    with pytest.raises(AttributeError, match="no attribute"):
        _ = qpkit.nothing
    assert set(qpkit.__all__) <= set(dir(qpkit))
