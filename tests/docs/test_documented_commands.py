"""Every command of README.md and docs/*.md runs on the sample study; those of ONLY_PARSED are parsed."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from documented_commands import PAGES, Command, blocks_of, inline_of
from how_commands_run import ADDED, NAMES, ONLY_PARSED, OTHER_WORDS
from played_commands import play, prepare

from command_line import run
from qpkit.cli import app
from qpkit.cli.shared.verbs import verbs
from qpkit_train.recipe.load import list_recipes

torch = pytest.importorskip("torch", reason="torch is not installed (extra: train)")

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
COMMANDS = [command for block in BLOCKS for command in block]
INLINE = [command for page in PAGES for command in inline_of(page) if len(command.text.split()) > 1]


def is_only_parsed(command: Command) -> bool:
    return any(command.text.startswith(start) for start in ONLY_PARSED)


@pytest.fixture(scope="module")
def prepared(one_torch_thread: None, made_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the study and with what earlier pages would have made of it; do not write into it."""
    folder = tmp_path_factory.mktemp("prepared")
    with contextlib.chdir(folder):
        prepare(made_study)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("block", [pytest.param(block, id=str(block[0])) for block in BLOCKS])
def test_the_commands_of_a_block_run_one_after_the_other(
    block: list[Command], prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = [command for command in block if not is_only_parsed(command)]
    if not commands:
        pytest.skip(
            f"only parsed: {next(why for start, why in ONLY_PARSED.items() if block[0].text.startswith(start))}"
        )
    here = tmp_path / "here"
    shutil.copytree(prepared, here, copy_function=_linked)
    monkeypatch.chdir(here)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name, value in (("SLURM_ARRAY_TASK_ID", "1"), ("SLURM_ARRAY_TASK_COUNT", "2")):
        monkeypatch.setenv(name, value)
    for command in commands:
        play(command.words, command.text)
    monkeypatch.undo()
    shutil.rmtree(here)


def _linked(source: str, target: str) -> None:
    """Large files are shared with the prepared folder: qpkit writes beside and renames."""
    if Path(source).suffix in (".safetensors", ".tif", ".png"):
        os.link(source, target)
    else:
        shutil.copyfile(source, target)


@pytest.mark.parametrize("command", [pytest.param(item, id=str(item)) for item in COMMANDS if is_only_parsed(item)])
def test_the_words_and_bounds_of_other_commands_are_those_of_the_command_line(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"qpkit.cli.verbs.{command.verb.replace('-', '_')}")
    parsed: list[dict[str, Any]] = []

    @functools.wraps(module.command)
    def only_parsed(**said: Any) -> None:
        parsed.append(said)

    monkeypatch.setattr(module, "command", only_parsed)
    assert run(*command.words) == 0, command.text
    assert parsed


def test_no_table_speaks_of_commands_that_no_page_has() -> None:
    texts = [command.text for command in COMMANDS]
    for start in (*ONLY_PARSED, *OTHER_WORDS):
        assert any(text.startswith(start) for text in texts), start
    for part in (*ADDED, *NAMES):
        assert any(part in said for text in texts for said in (text, text.replace("$SLURM_ARRAY_TASK_ID", "1"))), part


METADATA = ("class", "locked", "model", "reviewer", "run", "shape")
"""Keys of objects' metadata that stand in sentences as `qpkit KEY`."""


def test_commands_in_sentences_have_options_that_are_there() -> None:
    unknown = [f"{command}: {command.text}" for command in INLINE if not _is_known(command.text.split()[1:])]
    assert not unknown


def _is_known(words: list[str]) -> bool:
    """Whether the first word is a command and the others with dashes are its options."""
    verb = words[0]
    if (words[0] in METADATA and len(words) == 1) or verb == "COMMAND" or verb.startswith("-"):
        return True
    if verb not in verbs():
        return False
    return {word for word in words if word.startswith("-")} <= _options(verb)


@functools.cache
def _options(verb: str) -> set[str]:
    group: Any = typer.main.get_command(app)
    found = group.get_command(None, verb)
    parts = getattr(found, "commands", {verb: found}).values()
    parameters = [parameter for part in parts for parameter in part.params]
    return {"--help", *(option for one in parameters for option in (*one.opts, *one.secondary_opts))}


def test_recipes_that_commands_name_are_there() -> None:
    for command in COMMANDS:
        words = command.words
        for option in ("--recipe", "--compare"):
            if option in words:
                for name in words[words.index(option) + 1].split(","):
                    assert name in list_recipes() or name.endswith(".toml"), command.text


def test_every_kind_of_block_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Say `qpkit info PATH`:\n\n    qpkit info study  # remark\n\n"
        "```sh\nsrun -m qpkit train tiles \\\n    -o 'a b'\n```\n\n```python\nqpkit info no\n```\n"
    )
    (first,), (second,) = blocks_of(page)
    assert (first.words, first.line) == (["info", "study"], 3)
    assert (second.words, second.verb, second.line) == (["train", "tiles", "-o", "a b"], "train", 6)
    assert [command.text for command in inline_of(page)] == ["qpkit info PATH"]
