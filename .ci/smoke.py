"""Plays everything but training with an installed qpkit, in an empty folder: PYTHON .ci/smoke.py STUDY.

STUDY is what samples/make_samples.py made; PYTHON is that of the environment that qpkit is installed in. Where torch is
there, too, a few steps of training and a prediction are played.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests/workflows"))

from predictions_made_up import predict_truth

import qpkit
from qpkit.workflows.inputs.label_maps import read_label_map

HAS_TORCH = importlib.util.find_spec("torch") is not None
COMMAND = Path(sys.executable).with_name("qpkit")


def play(*arguments: str, code: int = 0, says: str = "") -> None:
    """Run `qpkit` with arguments; exit with what it said unless it ends with `code`, says `says`, and no traceback."""
    start = time.perf_counter()
    # The code page of a Windows console has no letters for tables.
    environment = {**os.environ, "PYTHONUTF8": "1"}
    done = subprocess.run([COMMAND, *arguments], capture_output=True, encoding="utf-8", env=environment, check=False)
    said = done.stdout + done.stderr
    if done.returncode != code or says not in said or "Traceback" in said:
        sys.exit(f"qpkit {' '.join(arguments)}\nended with {done.returncode} instead of {code}:\n{said}")
    sys.stdout.write(f"{time.perf_counter() - start:5.1f} s  qpkit {' '.join(arguments)}\n")


def play_without_training() -> None:
    """From the study to tiles, tables, other formats, and predictions into the project."""
    labels = "study/labels.toml"
    play("--version", says=f"qpkit {qpkit.__version__}")
    play("--help", says="import-predictions")
    play("doctor", says="OpenSlide")
    play("info", "study", says="patient_D.tif")
    play("info", "study/slides/patient_D.tif", says="0.5")
    export = ("--labels", labels, "--split", "metadata:Split", "--tile-size", "256", "--tissue", "otsu")
    play("export", "study", "-o", "tiles", *export)
    play("stats", "tiles", "-o", "tiles.png", says="Tumor")
    play("split", "tiles", "--by", "patient:Patient", "--metadata", "study", "--folds", "2")
    play("preview", "tiles", "-o", "preview.html")
    play("measure", "study", says="Tumor")
    play("convert", "study", "converted", "--to", "geojson")
    play("convert", "study", "masks", "--to", "labels", "--labels", labels)
    play("doctor", str(next(Path("converted").glob("*.geojson"), "converted")))
    predict_truth(Path("study"), Path("predictions"), read_label_map(Path(labels)))
    play("evaluate", "predictions", "study", "-o", "evaluation", says="Dice")
    play("import-predictions", "predictions", "study", "--min-area-um2", "100", "--simplify-um", "0.5")
    play("review", "study", says="Tumor")
    play("picture", "study", "--entry", "patient_D.tif", "-o", "picture.png")
    play("doctor", "study")
    play("recipes", says="unet-resnet18")
    if not HAS_TORCH:
        play("train", "tiles", "-o", "run", code=1, says="pip install 'qpkit[train]'")


def play_training() -> None:
    """Two steps of a small network, and what it predicts."""
    short = ("--set", "optim.epochs=1", "--set", "optim.steps_per_epoch=2", "--set", "data.workers=0")
    play("train", "tiles", "-o", "run", "--recipe", "unet-resnet18", *short)
    play("predict", "run", "study", "--entry", "patient_D.tif", "-o", "other")


def main() -> None:
    """Play in an empty folder that is removed afterwards; exit with what went wrong."""
    study = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as empty:
        os.chdir(empty)
        shutil.copytree(study, "study")
        play_without_training()
        if HAS_TORCH:
            play_training()
        os.chdir(study)  # Windows removes no folder that somebody is in
    sys.stdout.write(f"qpkit {qpkit.__version__} works ({sys.executable})\n")


if __name__ == "__main__":
    main()
