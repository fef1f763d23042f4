"""Play the two quickstarts and keep their pictures: python docs/images/make_quickstart_pictures.py

Prints how long each command took. Needs chromium for the pictures of pages.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import shapely
from PIL import Image

import qpkit

HERE = Path(__file__).parent
SAMPLES = HERE.parents[1] / "samples" / "make_samples.py"
WIDTH = 900
"""Px of a picture."""

LOOP = (
    "info study",
    "export study -o tiles --labels study/labels.toml --split metadata:Split --tile-size 256 --tissue otsu",
    "preview tiles -o tiles.html",
    "train tiles -o run --recipe unet-resnet18 --set optim.epochs=6",
    "predict run study --where Split=test -o predictions --probabilities --import --min-area-um2 100 --simplify-um 0.5",
    "evaluate predictions study -o evaluation",
    "measure study --of predictions --csv areas.csv",
    "picture study --entry patient_A.tif -o annotated.png --size 1400",
    "picture study --entry patient_D.tif --predictions predictions -o predicted.png --size 1400",
)
REVIEW = ("review study -o review.html --csv review.csv", "suggest study --n 4 --region-um 150 -o suggested.png")


def call(*words: str) -> None:
    """Run a program and print what it took."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    sys.stderr.write(f"{time.perf_counter() - start:7.1f} s  {' '.join(words)}\n")


def play_reviewer(project: str) -> None:
    """What a pathologist might do to the predictions: reject the smallest, redraw the next, look through the rest."""
    (entry,) = [entry for entry in qpkit.open_project(project).entries if entry.name == "patient_D.tif"]

    def review(data: qpkit.QpData) -> None:
        objects = data.objects()
        predicted = [n for n, item in enumerate(objects) if "predicted by" in (item.name or "")]
        smallest, next_one, *_ = sorted(predicted, key=lambda n: objects[n].geometry.area)
        outline = objects[next_one].geometry.buffer(-12)
        data.update({next_one: replace(objects[next_one], geometry=outline, shape="polygon")})
        seen = shapely.box(*shapely.GeometryCollection([item.geometry for item in objects]).buffer(40).bounds)
        data.add([qpkit.Annotation(geometry=seen, path_class=qpkit.PathClass(("Reviewed*",)))])
        data.remove([smallest])

    entry.edit(review)


def keep(source: str | Path, name: str, *, box: tuple[int, int, int, int] | None = None, colors: int = 64) -> None:
    """Save a picture small, beside this file."""
    image = Image.open(source).convert("RGB")
    if box is not None:
        image = image.crop(box)
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    if name.endswith(".png"):
        image.quantize(colors).save(HERE / name, optimize=True)
    else:
        image.save(HERE / name, quality=80, optimize=True)


def screenshot(page: str, *, width: int = 1200, height: int = 900) -> Path:
    """What a browser shows of a page."""
    out = Path(page).with_suffix(".shot.png").resolve()
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={width},{height}"]
    address = Path(page).resolve().as_uri()
    command = ["chromium", *options, f"--screenshot={out}", address]
    subprocess.run(command, check=True, capture_output=True)
    return out


def main() -> None:
    """Play, and keep the pictures."""
    call(str(SAMPLES), "study")
    for line in LOOP:
        call("-m", "qpkit", *line.split())
    play_reviewer("study")
    for line in REVIEW:
        call("-m", "qpkit", *line.split())
    keep("annotated.png", "quickstart-annotated.jpg")
    keep("predicted.png", "quickstart-predicted.jpg")
    keep("suggested.png", "quickstart-suggested.jpg")
    keep("run/curves.png", "quickstart-curves.png")
    keep(screenshot("tiles.html"), "quickstart-tiles.png", box=(0, 92, 1200, 900))  # without where it lies
    keep(screenshot("review.html"), "quickstart-review.png")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(sys.argv[1] if len(sys.argv) > 1 else folder):
        main()
