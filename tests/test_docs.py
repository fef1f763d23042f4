"""The pages: their examples run, their tables are those of the code, their links lead somewhere."""

from __future__ import annotations

import inspect
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import typer

import qpkit
import qpkit.core.label_file as label_map_module
from qpkit.cli import app
from qpkit.cli.shared.verbs import verbs
from qpkit.core.labels import parse_label_map
from qpkit.files import paths_of
from shared_data import DOCS, ROOT

TABLES: dict[str, Any] = runpy.run_path(str(DOCS / "make_tables.py"))
PAGES = (
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "groovy/README.md",
    *sorted((ROOT / ".github").glob("*.md")),
    *sorted(DOCS.glob("*.md")),
)

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
    assert [len(labels.classes) for labels in maps] == [5, 4, 5, 4]
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


def test_every_public_function_takes_text_for_a_path_and_one_path_for_several() -> None:
    functions = {name: getattr(qpkit, name) for name in qpkit.__all__ if inspect.isfunction(getattr(qpkit, name))}
    for name, function in functions.items():
        for parameter in inspect.signature(function).parameters.values():
            asked = str(parameter.annotation)
            assert not re.search(r"\bPath\b", asked), f"{name}({parameter.name}: {asked})"
            assert "Sequence[AnyPath]" not in asked or asked.startswith("AnyPath | "), f"{name}({parameter.name})"
    assert paths_of("a") == paths_of(Path("a")) == paths_of(["a"]) == [Path("a")]


@pytest.mark.parametrize("name", TABLES["TABLES"])
def test_a_table_in_the_documentation_is_that_of_the_code(name: str) -> None:
    blocks = {}
    for page in TABLES["pages"]():
        found = [block["made"] for block in TABLES["BLOCK"].finditer(page.read_text("utf-8")) if block["name"] == name]
        if found:
            (blocks[page.name],) = found
    (made,) = blocks.values()
    assert made == TABLES["TABLES"][name](), f"{list(blocks)} differs; run: python docs/make_tables.py"


def test_no_page_has_marks_of_a_table_that_is_none() -> None:
    assert not TABLES["stale_pages"]()
    names = {block["name"] for page in PAGES for block in TABLES["BLOCK"].finditer(page.read_text("utf-8"))}
    assert names == set(TABLES["TABLES"])


def test_only_what_stands_between_the_marks_is_rewritten() -> None:
    table = TABLES["TABLES"]["formats"]()
    page = "before\n<!-- formats -->\nold\n<!-- /formats -->\n<!-- other -->\nkept\n<!-- /other -->\n"
    expected = page.replace("old", table)
    assert TABLES["rewritten"](page) == expected
    assert TABLES["rewritten"](expected) == expected


@pytest.mark.parametrize("verb", verbs())
def test_the_page_of_commands_has_every_option_under_its_command(verb: str) -> None:
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    section = page.partition(f"\n## qpkit {verb}\n")[2].partition("\n## ")[0]
    assert section
    command: Any = typer.main.get_command(app).get_command(None, verb)  # type: ignore[attr-defined]
    for part in getattr(command, "commands", {verb: command}).values():
        for parameter in part.params:
            for option in (*parameter.opts, *parameter.secondary_opts):
                assert not option.startswith("-") or "completion" in option or f"`{option}" in section, option


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


def headings(page: Path) -> set[str]:
    """Anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_glossary_is_in_order_and_says_where_to_read_on() -> None:
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    entries = dict(part.split("\n", 1) for part in text.split("\n### ")[1:])
    assert list(entries) == sorted(entries, key=str.lower)
    assert all("](" in entry for entry in entries.values())
