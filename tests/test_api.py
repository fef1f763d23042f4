"""The loop as functions, and as a user types it: the same files, the same figures, and reports instead of words."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import qpkit
from command_line import run
from qpkit.dataset.splits import SplitRule
from qpkit.errors import ConfigError
from qpkit.predictions import read_predictions
from qpkit.workflows.evaluate.result import Evaluation
from qpkit.workflows.export.tiles import ExportReport
from qpkit.workflows.imports.result import SlideImport
from qpkit.workflows.imports.settings import ImportSettings
from qpkit.workflows.inputs.label_maps import read_label_map

pytestmark = [
    pytest.mark.usefixtures("one_torch_thread"),
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]

MPP, TILE = 4, 64
SET = (
    "data.batch_size=2",
    "data.workers=0",
    "model.encoder_depth=3",
    "model.encoder_weights=none",
    "model.options.decoder_channels=[64,32,16]",
    "optim.epochs=1",
    "optim.steps_per_epoch=2",
    "precision=32-true",
)
TIMES = (
    "seconds",
    "seconds_per_step",
    "waiting_fraction",
    "mm2_per_second",
    "timestamp",
    "modifyTimestamp",
    "speed",
    "device_busy",
)


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def timeless(value: Any, but: tuple[str, ...] = ()) -> Any:
    """JSON without times, and without further keys."""
    if isinstance(value, dict):
        return {key: timeless(item, but) for key, item in value.items() if key not in (*TIMES, *but)}
    return [timeless(item, but) for item in value] if isinstance(value, list) else value


def assert_same_files(root: Path, other: Path, but: tuple[str, ...] = ()) -> None:
    """Byte for byte, but for times (and other keys) in JSON and in ledgers, and for where the two roots are."""
    own, others = files_of(root), files_of(other)
    assert list(own) == list(others) != []
    for name, content in own.items():
        twin = others[name]
        if name.endswith((".json", ".qpproj")):
            moved = twin.decode().replace(str(other.parent), str(root.parent))
            assert timeless(json.loads(content), but) == timeless(json.loads(moved), but), name
        elif "/imports/" in name:  # a ledger, in which the second of the import stands
            tables = [pq.read_table(io.BytesIO(file)).drop_columns("when") for file in (content, twin)]
            assert tables[0].equals(tables[1], check_metadata=True), name
        else:
            assert content == twin, name


def test_the_functions_do_what_the_command_line_does(study: Path, tmp_path: Path) -> None:
    typed, made = tmp_path / "typed", tmp_path / "made"
    for folder in (typed, made):
        folder.mkdir()
    load_file = pytest.importorskip("safetensors.numpy").load_file
    labels = read_label_map(study / "labels.toml")
    seen: list[tuple[int, int, str]] = []

    rule = SplitRule.parse("metadata:Split")
    settings = qpkit.ExportSettings(labels=labels, mpp=MPP, tile_size=TILE, split=rule, fractions=(8, 1, 1))
    exported = qpkit.export([study], made / "tiles", settings, on_progress=lambda *a: seen.append(a))
    options = ["--labels", study / "labels.toml", "--mpp", MPP, "--tile-size", TILE, "--split", "metadata:Split"]
    assert run("export", study, "-o", typed / "tiles", *options) == 0
    assert_same_files(made / "tiles", typed / "tiles")
    assert isinstance(exported, ExportReport)
    assert (exported.mpp, exported.skipped, exported.failed) == (MPP, (), {})
    assert [item.value for item in exported.labels.classes] == [1]
    assert set(exported.splits) == {"train", "val", "test"}
    done, total, _ = seen[-1]
    assert done == total == 4 * -(-2816 // (8 * TILE)) * -(-2048 // (8 * TILE))

    recipe = qpkit.load_recipe("unet-resnet18", SET)
    trained = qpkit.train(made / "tiles", made / "run", recipe)
    words = [word for setting in SET for word in ("--set", setting)]
    assert run("train", typed / "tiles", "-o", typed / "run", "--recipe", "unet-resnet18", *words) == 0
    assert (trained.epochs, trained.steps, trained.recipe) == (1, 2, "unet-resnet18")
    for name in ("curves.csv", "confusion.csv"):
        assert (made / "run" / name).read_bytes() == (typed / "run" / name).read_bytes()
    weights, twins = (load_file(root / "run/best.safetensors") for root in (made, typed))
    assert list(weights) == list(twins)
    assert all(np.array_equal(weights[name], twins[name]) for name in weights)
    assert json.loads((typed / "run/run.json").read_text())["id"] == trained.run

    how = qpkit.PredictSettings(probabilities=True, halo_px=32, tile_px=TILE)
    slides = qpkit.SlideSettings(entries=("patient_D.tif",))
    predicted = qpkit.predict(made / "run", [study], made / "predictions", how, slides=slides)
    words = ["--entry", "patient_D.tif", "--probabilities", "--halo", 32, "--tile-size", TILE]
    assert run("predict", typed / "run", study, "-o", typed / "predictions", *words) == 0
    # A job is that of one run folder, in which times stand.
    assert_same_files(made / "predictions", typed / "predictions", but=("job",))
    assert [slide.name for slide in predicted.slides] == ["patient_D.tif"] and predicted.skipped == ()
    assert predicted.run == trained.run == read_predictions(made / "predictions").run

    judged = qpkit.evaluate(made / "predictions", [study], out=made / "evaluation", slides=slides)
    words = ["--entry", "patient_D.tif", "-o", typed / "evaluation"]
    assert run("evaluate", typed / "predictions", study, *words) == 0
    assert_same_files(made / "evaluation", typed / "evaluation")
    assert isinstance(judged, Evaluation)
    assert judged.names == ("background", "Tumor") and judged.pooled.slides == ("patient_D.tif",)
    assert qpkit.evaluate(made / "predictions", [study], slides=slides).pooled.confusion == judged.pooled.confusion

    shutil.copytree(study, typed / "study")
    (imported,) = qpkit.import_predictions(made / "predictions", study)
    assert run("import-predictions", typed / "predictions", typed / "study") == 0
    assert isinstance(imported, SlideImport) and imported.added == sum(imported.objects.values())
    assert_same_files(study, typed / "study")
    (again,) = qpkit.import_predictions(made / "predictions", study)
    assert (again.added, again.removed, again.unchanged) == (0, 0, imported.added)
    (written,) = qpkit.import_predictions(made / "predictions", study, ImportSettings(), geojson=made / "geojson")
    assert written.objects == imported.objects
    (path,) = (made / "geojson").glob("*.geojson")
    assert len(qpkit.read_geojson(path)) == imported.added


def test_the_package_has_the_functions_themselves() -> None:
    for name in ("export", "export_shard", "train", "predict", "import_predictions", "evaluate"):
        assert getattr(qpkit, name).__name__ == name
        assert name in qpkit.__all__ and name in dir(qpkit)
    with pytest.raises(AttributeError, match="no attribute 'exports'"):
        getattr(qpkit, "exports")  # noqa: B009


def test_what_the_functions_refuse_is_said_before_any_work(study: Path, tmp_path: Path) -> None:
    recipe = qpkit.load_recipe("unet-resnet18", SET)
    with pytest.raises(ConfigError, match="overrides change a recipe that is named"):
        qpkit.train(tmp_path / "no tiles", tmp_path / "run", recipe, overrides=["optim.lr=1"])
    with pytest.raises(ConfigError, match="train it with qpkit train-classifier"):
        qpkit.train(tmp_path / "no tiles", tmp_path / "run", "bracs-classifier")
    how = qpkit.PredictSettings()
    for options, why in (
        ({"from_masks": True}, "--from-masks needs --labels"),
        ({"masks_table": "t.csv"}, "--table goes with --from-masks"),
        ({"prediction": how}, "is no run"),
        ({"prediction": how, "from_masks": True}, "--threshold goes with a run"),
    ):
        with pytest.raises(ConfigError, match=why):
            qpkit.evaluate(tmp_path / "predictions", [study], out=tmp_path / "out", **options)
    labels = read_label_map(study / "labels.toml")
    with pytest.raises(ConfigError, match="exactly one QuPath project"):
        qpkit.evaluate(tmp_path / "masks", [study, study], labels=labels, from_masks=True)
    assert not any(path.name != "study" for path in tmp_path.iterdir())
