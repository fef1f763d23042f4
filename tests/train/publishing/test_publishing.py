"""Packages of a run: what bioimageio.core, smp and huggingface_hub make of them, and that they tell no secrets."""

from __future__ import annotations

import gc
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from qpkit.cli import main
from qpkit.errors import ConfigError, FormatError, OutputError
from qpkit_train.machine.torchvision_shim import ensure_torchvision
from qpkit_train.models.registry import build_untrained
from qpkit_train.publishing import hub
from qpkit_train.publishing.anonymous import anonymous
from qpkit_train.publishing.bioimageio import _identifiers, export_bioimageio
from qpkit_train.publishing.hugging_face import export_hugging_face
from qpkit_train.publishing.model_card import card_body, first_weights_of
from qpkit_train.publishing.settings import PublishSettings
from qpkit_train.run_folder.records import BEST_NAME, read_run_file, write_run_file
from qpkit_train.run_folder.run import load_run
from qpkit_train.run_folder.weights import save_tensors
from shared_data import ROOT

KEPT = Path(__file__).parents[2] / "kept" / "run"
SAID = PublishSettings(license="CC-BY-4.0", authors=("A. Author", "B"))


@pytest.fixture
def smp_run(tmp_path: Path) -> Path:
    """The kept run, as if it had a U-Net of smp with random weights, and slides with telling names."""
    file = read_run_file(KEPT)
    model = {**file.recipe["model"], "architecture": "unet", "encoder": "resnet18", "encoder_depth": 3}
    model |= {"encoder_weights": "run:/home/Jane Doe/run", "weights": "run:/home/Jane Doe/run"}
    model["options"] = {"decoder_channels": [16, 8, 4]}
    look = {"slides": {"Jane Doe.svs": [0.0] * 10}, "within": [[1.0] * 10] * 10, "fractions": {"Jane Doe.svs": {}}}
    augment = {**file.recipe["augment"], "style_from": "/home/Jane Doe/a.svs"}
    changed = msgspec.structs.replace(
        file,
        recipe={**file.recipe, "model": model, "augment": augment, "source": "/home/Jane Doe/own.toml"},
        process="host 1",
        notes=["Jane Doe.svs has few tiles"],
        sampler={**file.sampler, "by_group": {"Jane Doe": {"tiles": 3}}, "notes": ["Jane Doe is rare"]},
        tiles={**file.tiles, "colors": [{"icc": "/home/Jane Doe/scanner.icc", "target": "", "background": [1, 2, 3]}]},
        origins={"weights": {"run": "r", "folder": "/home/Jane Doe/run", "best_epoch": 1}},
        plan={"fingerprint": {"slides": ["Jane Doe.svs"]}},
    )
    changed = msgspec.convert({**msgspec.to_builtins(changed), "appearance": look}, type(file))
    root = tmp_path / "run"
    root.mkdir()
    write_run_file(root, changed)
    torch.manual_seed(0)
    network = build_untrained(load_run_recipe(changed), 3)
    save_tensors(root / BEST_NAME, network.state_dict(), run=file.id, epoch=1)
    return root


def load_run_recipe(file: Any) -> Any:
    from qpkit_train.recipe.load import recipe_from_builtins

    return recipe_from_builtins(file.recipe, source="test").model


# bioimageio leaves files open, and pydantic and numpy warn in it
@pytest.mark.filterwarnings("ignore")
def test_bioimageio_validates_and_runs_the_package(smp_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="pip install 'qpkit[onnx]'")
    core = pytest.importorskip("bioimageio.core", reason="pip install 'qpkit[bioimageio]'")
    path = tmp_path / "model.zip"
    report = export_bioimageio(smp_run, path, SAID)
    assert (report.path, report.notes) == (path, ())
    summary = core.test_model(path)
    assert summary.status == "passed", summary
    described = core.load_model_description(path)
    assert [str(axis.id) for axis in described.inputs[0].axes] == ["batch", "channel", "y", "x"]
    assert described.inputs[0].axes[2].scale == 0.5
    assert described.license == "CC-BY-4.0"
    with zipfile.ZipFile(path) as package:
        assert all(b"Jane Doe" not in package.read(name) for name in package.namelist())
        assert all(str(smp_run).encode() not in package.read(name) for name in package.namelist())
    del summary, described
    gc.collect()  # here, where warnings of open files are ignored


def test_smp_builds_the_very_network_from_the_folder(smp_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    report = export_hugging_face(smp_run, folder, SAID)
    assert report.notes == ()
    ensure_torchvision()
    import segmentation_models_pytorch as smp

    network = smp.from_pretrained(folder).eval()
    pixels = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(network(pixels), load_run(smp_run).load_model()(pixels))
    assert not any(b"Jane Doe" in path.read_bytes() or b"host 1" in path.read_bytes() for path in folder.iterdir())


def test_the_folder_is_a_model_to_predict_with(smp_run: Path, tmp_path: Path) -> None:
    from qpkit_train.inference.running.opening import open_one

    export_hugging_face(smp_run, tmp_path / "published", SAID)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    before, after = (open_one(root, "cpu", 1).levels(pixels) for root in (smp_run, tmp_path / "published"))
    assert np.array_equal(before, after)


def test_hugging_face_reads_the_model_card(smp_run: Path, tmp_path: Path) -> None:
    import huggingface_hub

    export_hugging_face(smp_run, tmp_path / "published", SAID)
    card = huggingface_hub.ModelCard.load(tmp_path / "published" / "README.md")
    assert (card.data.license, card.data.library_name) == ("cc-by-4.0", "segmentation-models-pytorch")
    dice = read_run_file(smp_run).metrics["mean_dice"]
    assert {r.metric_type: r.metric_value for r in card.data.eval_results}["dice"] == dice
    for heading in ("Intended use", "Training data", "Validation", "Licence and authors"):
        assert f"## {heading}" in card.content


def test_a_run_stays_what_it_is_without_its_secrets(smp_run: Path) -> None:
    run = load_run(smp_run)
    told = anonymous(run)
    assert b"Jane Doe" not in msgspec.json.encode(told.file)
    assert (told.file.metrics, told.file.labels, told.card().stride) == (run.file.metrics, run.file.labels, 32)
    assert told.file.sampler["pixels_of_tiles"] == run.file.sampler["pixels_of_tiles"]
    assert told.file.tiles["colors"][0]["icc"] == "scanner.icc"
    assert anonymous(told).file == told.file


def test_what_people_did_not_say_is_told(tmp_path: Path) -> None:
    report = export_hugging_face(KEPT, tmp_path / "published", PublishSettings())
    assert [note.partition(";")[0] for note in report.notes] == [
        "no licence is stated, so nobody may use the model",
        "no authors are stated",
        "dense-unet is qpkit's own network: smp cannot load it",
    ]
    assert json.loads((tmp_path / "published" / "config.json").read_text())["architecture"] == "dense-unet"


def test_nothing_of_others_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "published"
    export_hugging_face(KEPT, folder, SAID)
    with pytest.raises(OutputError, match="--overwrite"):
        export_hugging_face(KEPT, folder, SAID)
    export_hugging_face(KEPT, folder, SAID, overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("mine")
    with pytest.raises(OutputError, match="not of this kind"):
        export_hugging_face(KEPT, tmp_path / "mine", SAID, overwrite=True)


def test_a_place_on_the_hub_is_fetched_or_one_line_says_what_else_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match="qpkit predict FOLDER"):
        hub.local_model(Path("hf:nobody/nothing"))
    with pytest.raises(ConfigError, match="OWNER/NAME"):
        hub.local_model(Path("hf:nothing"))
    export_hugging_face(KEPT, tmp_path / "published", SAID)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: str(tmp_path / "published"))
    assert hub.local_model(Path("hf:owner/name")) == tmp_path / "published"
    monkeypatch.chdir(tmp_path)
    assert hub.local_model(Path("hf:published")) == Path("published")
    assert hub.local_model(KEPT) == KEPT
    (tmp_path / "other").mkdir()
    with pytest.raises(FormatError, match=r"no run\.json"):
        hub.local_model(Path("hf:other"))


def test_channels_have_names_that_bioimageio_takes() -> None:
    assert _identifiers(["Tumor: Nest", "ä", "1", "tumor nest"]) == ["tumor__nest", "class_", "class_1", "tumor_nest"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--for", "bioimageio"], "needs -o"),
        (["--for", "bioimageio", "-o", "model.onnx"], ".zip"),
        (["--for", "bioimageio", "-o", "m.zip", "--name", "x"], "go with --for qupath"),
        (["--for", "huggingface", "-o", "m", "--license", "my own"], "SPDX"),
        (["-o", "m.onnx", "--license", "MIT"], "--license"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="1"):
        main(["export-model", str(KEPT), *options])
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_card_says_what_the_encoder_began_with_and_not_where_that_lies(tmp_path: Path) -> None:
    run = load_run(ROOT / "tests/kept/run")
    for said, shown in (("none", "none"), ("imagenet", "imagenet"), ("/home/anna/w.pth", "not named here"),
                        ("run:C:\\anna", "not named here")):  # fmt: skip
        model = msgspec.structs.replace(run.recipe.model, encoder_weights=said)
        known = replace(run, recipe=msgspec.structs.replace(run.recipe, model=model))
        body = card_body(run, PublishSettings(), "", first_weights=first_weights_of(known))
        assert f"first weights {'of a file or run that is ' if 'anna' in said else ''}{shown};" in body
        assert "anna" not in body
