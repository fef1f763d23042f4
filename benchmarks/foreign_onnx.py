"""A foreign ONNX model beside one of ours, in the regions of a project: Dice, and time.

python benchmarks/foreign_onnx.py PROJECT LABELS OUT --wheel lavlab_shell-0.9.1-py3-none-any.whl [--run RUN]

The wheel comes from: pip download --no-deps lavlab-shell==0.9.1. It holds a model (MIT) for epithelium in H&E of the
prostate, at 1 um/px: lumen, epithelium and what is neither. Nothing of it is installed or run but its ONNX file, which
a TOML file describes. Epithelium is taken for tumour here, and what is neither for stroma; the lumen is background.
RUN is a run folder or an .onnx file of ours with the same classes. Slides are named by their entries.
"""

from __future__ import annotations

import argparse
import shutil
import time
import zipfile
from pathlib import Path

import qpkit
from qpkit.workflows.evaluate.result import Evaluation, Scope

DESCRIPTION = """
onnx = "model_v1.onnx"
name = "lavlab-shell"
mpp = 1.0
stride = 64
activation = "sigmoid"
background = 0
prepare = "macenko:stains_of_slide"

[[class]]
name = "Stroma"
channel = 2

[[class]]
name = "Tumor"
channel = 1
"""


def described(wheel: Path, folder: Path) -> Path:
    """Lay the model, its preparation and its description into a folder; gives the description."""
    folder.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith("shell/weights/"):
                (folder / Path(name).name).write_bytes(archive.read(name))
    shutil.copy(Path(__file__).with_name("macenko.py"), folder)
    path = folder / "model.toml"
    path.write_text(DESCRIPTION)
    return path


def scored(model: Path, project: Path, labels: Path, out: Path) -> tuple[Evaluation, float]:
    """Predict a project inside its regions and compare; gives the scores and the seconds of predicting."""
    before = time.perf_counter()
    qpkit.predict(model, [project], out, qpkit.PredictSettings(within="Region*", probabilities=True))
    seconds = time.perf_counter() - before
    return qpkit.evaluate(out, [project], labels=qpkit.read_label_map(labels)), seconds


def _cells(scope: Scope) -> list[str]:
    cells = []
    for name in ("Tumor", "Stroma"):
        dice, ranking = scope.scores[name].dice, scope.ranking and scope.ranking[name].auc
        cells += ["-" if value is None else f"{value:.3f}" for value in (dice, ranking)]
    return cells


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("project", "labels", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--run", type=Path)
    args = parser.parse_args()
    models = {"lavlab-shell": described(args.wheel, args.out / "model")} | ({"ours": args.run} if args.run else {})
    print("| model | slide | Tumor Dice | Tumor AUC | Stroma Dice | Stroma AUC |\n|---|---|---|---|---|---|")
    for name, model in models.items():
        found, seconds = scored(model, args.project, args.labels, args.out / name)
        for scope in (*found.slides, found.pooled):
            print("| " + " | ".join([name, scope.name, *_cells(scope)]) + " |", flush=True)
        print(f"{name}: {seconds:.0f} s for {len(found.slides)} slides")


if __name__ == "__main__":
    main()
