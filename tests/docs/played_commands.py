"""Plays a documented command in a folder that has what earlier commands would have made."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import shapely
from how_commands_run import ADDED, COPIES, NAMES, OTHER_WORDS, PREPARED, SHORT, TINY
from PIL import Image

import make_samples
import qpkit
from command_line import run
from shared_data import DOCS

REGION = qpkit.Annotation(geometry=shapely.box(900, 600, 1700, 1400), path_class=qpkit.PathClass(("Region*",)))
POINT = qpkit.Annotation(geometry=shapely.MultiPoint([(1300, 1000)]), shape="points", path_class=make_samples.TUMOR)


def prepare(study: Path) -> None:
    """Put a study and what is made of it into the working directory."""
    shutil.copytree(study, "study")
    shutil.copy("study/labels.toml", "labels.toml")
    for entry in qpkit.open_project("study").entries:
        entry.edit(lambda data: data.add([REGION, POINT]))
    for reader in ("anna", "bert"):
        shutil.copytree("study", reader)
    put_folders()
    for line in PREPARED.strip().splitlines():
        play(line.split(), f"qpkit {line}")
        if line.startswith("import-predictions"):
            reject_predictions()
    for made, names in COPIES.items():
        for name in names:
            shutil.copytree(made, name)


def reject_predictions() -> None:
    """A reviewer deletes what was predicted on the slides for training."""
    for entry in qpkit.open_project("study").entries[:2]:
        predicted = [n for n, item in enumerate(entry.objects()) if "predicted by" in (item.name or "")]
        entry.edit(lambda data, predicted=predicted: data.remove(predicted))


def put_folders() -> None:
    """Folders of images and masks, named as on the pages, and label images."""
    patients = [f"P{patient}_{number}" for patient in (1, 2, 3) for number in (1, 2)]
    put_pictures("data", patients)
    Path("data/dataset.toml").write_text("mpp = 2\n[classes]\nTumor = 1\n", encoding="utf-8")
    Path("patients.csv").write_text("file,patient\n" + "".join(f"{name},{name[:2]}\n" for name in patients))
    Path("short.toml").write_text('[study]\nsource = "data"\nout = "made"\n[import-tiles]\n', encoding="utf-8")
    put_pictures("numbered", patients)
    put_pictures("tcga", [f"TCGA-A{number}-A0SK_x" for number in (1, 2, 3)])
    put_pictures("split-by-name", ["train_1", "testA_2", "testB_3"])
    put_pictures("hospital", patients, images="HE/{}_HE.png", masks="annotated/{}_tumour.png")
    slide = np.zeros((make_samples.HEIGHT, make_samples.WIDTH), np.uint8)
    slide[600:1400, 900:1700] = 1 + np.arange(800)[:, None] // 200
    for folder, shift in (("cells", 0), ("truth", 3)):
        Path(folder).mkdir()
        Image.fromarray(np.roll(slide, shift)).save(Path(folder) / "patient_D.tif [x=0,y=0,w=2816,h=2048].png")
    Image.fromarray(slide).save("mask.png")
    Image.fromarray(slide[1000:1200, 1000:1400]).save("mask_[1000, 2000, 1400, 2200].png")
    codes = "label\tGT_code\n" + "".join(f"class {value}\t{value}\n" for value in range(5))
    Path("gtruth_codes.tsv").write_text(codes, encoding="utf-8")
    (described,) = re.findall(r"```toml\n(onnx = .*?)```", (DOCS / "training.md").read_text("utf-8"), re.DOTALL)
    Path("model.toml").write_text(described.replace("mpp = 0.5", "mpp = 2.0"), encoding="utf-8")


def put_pictures(
    folder: str, names: Iterable[str], *, images: str = "images/{}.png", masks: str = "masks/{}.png"
) -> None:
    """Images with a dark rectangle each, and their masks."""
    rng = np.random.default_rng(2026)
    for name in names:
        mask = np.zeros((128, 128), np.uint8)
        mask[20:90, 30:80] = 1
        image = np.where(mask[..., None] > 0, 120, 220) + rng.integers(0, 20, (128, 128, 3))
        for pattern, pixels in ((images, image.astype(np.uint8)), (masks, mask)):
            path = Path(folder) / pattern.format(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


def adapted(words: list[str], text: str) -> list[str]:
    """The words of a command for the sample study, and the words that make it short."""
    others = next((other for start, other in OTHER_WORDS.items() if text.startswith(start)), {})
    names = {**NAMES, **others}

    def name(word: str) -> str:
        word = os.path.expandvars(word)
        key, equals, value = word.partition("=")
        return names.get(word, f"{key}{equals}{names.get(value, value)}")

    words = [words[0], *map(name, words[1:])]
    added = [word for part, more in ADDED.items() if part in text for word in more.split()]
    return [*words, *added, *settings_of(words)]


def settings_of(words: list[str]) -> list[str]:
    """Settings that make a training short, and its network small where the command does not choose one."""
    if words[0] not in ("train", "train-classifier", "rounds", "simulate", "cross-validate") or "--example" in words:
        return []
    if "--resume" in words and Path(words[words.index("-o") + 1]).exists():
        return []
    settings = [*SHORT]
    if not any("model.encoder_weights" in word for word in words):
        settings.append("model.encoder_weights=none")
    if words[0] == "cross-validate":
        return [word for setting in (*settings, *TINY) for word in ("--set", setting)]
    recipe = words[words.index("--recipe") + 1] if "--recipe" in words else "unet-resnet34"
    if recipe.startswith("unet-") and words[0] != "train-classifier" and "model." not in "".join(words[1:]):
        settings += [*TINY] if "--compare" not in words and "--prompts" not in words else []
    return [word for setting in settings for word in ("--set", setting)]


def play(words: list[str], text: str = "") -> None:
    """Run a command; what it makes replaces what is there."""
    words = adapted(words, text)
    assert not any(word.startswith("/") for word in words), f"{text}: how_commands_run.py says nothing in its place"
    said = io.StringIO()
    target = words.index(">") if ">" in words else len(words)
    if "-o" in words and "--resume" not in words:
        clear(Path(words[words.index("-o") + 1]))
    if words[0] == "convert" and not words[2].endswith(".qpproj"):
        clear(Path(words[2]))
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = run(*words[:target])
    assert code == 0, f"{text}\nran as: qpkit {' '.join(words)}\n{said.getvalue()[-3000:]}"
    if words[target:]:
        Path(words[target + 1]).write_text(said.getvalue(), encoding="utf-8")


def clear(path: Path) -> None:
    """Nothing is there afterwards."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
