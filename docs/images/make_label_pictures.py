"""Draw the pictures of docs/labels.md: python docs/images/make_label_pictures.py

Everything in them comes out of Painting, so they show what an export writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import parse_label_map
from qpkit.core.tiles import Tile
from qpkit.ops.masks.rasterize import Painting

HERE = Path(__file__).parent
SIDE = 240
TILE = Tile(col=0, row=0, x=0, y=0, width=SIDE, height=SIDE)
MPP = 0.5
COLORS = {0: "#ffffff", 1: "#86c5da", 2: "#d1495b", 3: "#edae49", 4: "#8d6cab", 255: "#bbbbbb"}
INK = "#222222"

STROMA = '[[class]]\nname = "Stroma"\nvalue = 1\n'
TUMOR = '[[class]]\nname = "Tumor"\nvalue = 2\n'
NECROSIS = '[[class]]\nname = "Necrosis"\nvalue = 3\n'
REGION = 'regions = ["Region*"]\nunannotated = "ignore"\n'
FRONT = '[[class]]\nname = "Front"\nvalue = 4\nof = "Stroma"\naround = "Tumor"\nwithin_um = 15\nnot = "Tumor"\n'
RING = '[[class]]\nname = "Ring"\nvalue = 4\nof = "Tumor"\ngrow_um = 12\nnot = ["Tumor", "Necrosis"]\n'
NUCLEUS = '[[class]]\nname = "Nucleus"\nvalue = 1\n'


def blob(x: float, y: float, radius: float, seed: int) -> shapely.Polygon:
    """A wobbly circle."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    wobble = sum(rng.normal(0, 0.07) * np.sin(k * angle + rng.uniform(0, 6)) for k in (2, 3, 5))
    r = radius * (1 + wobble)
    return shapely.Polygon(np.stack([x + r * np.cos(angle), y + r * np.sin(angle)], axis=1))


def annotation(geometry: shapely.Polygon, name: str) -> Annotation:
    """An annotation of a class."""
    return Annotation(geometry=geometry, path_class=PathClass((name,)))


TISSUE = [
    annotation(shapely.box(12, 12, 228, 228), "Region*"),
    annotation(blob(110, 120, 85, 1), "Stroma"),
    annotation(blob(130, 105, 48, 2), "Tumor"),
    annotation(blob(125, 95, 22, 3), "Stroma"),
    annotation(blob(190, 150, 34, 4), "Necrosis"),
]
NUCLEI = [
    annotation(blob(x, y, 32, 10 + k), "Nucleus")
    for k, (x, y) in enumerate([(60, 70), (112, 62), (100, 116), (160, 150), (190, 100), (70, 180), (205, 190)])
]


def draw(text: str, annotations: Sequence[Annotation]) -> Painting:
    """Make a painting from the text of a labels.toml."""
    return Painting(annotations, parse_label_map(text, source="docs"), downsample=1.0, mpp=MPP)


def panel(axes: object, mask: NDArray[np.uint8], title: str, outlines: Sequence[Annotation] = ()) -> None:
    """Show a mask in the colours of its values, with outlines over it."""
    values = sorted(COLORS)
    shown = np.searchsorted(values, mask)
    axes.imshow(shown, cmap=ListedColormap([COLORS[v] for v in values]), vmin=0, vmax=len(values) - 1)  # type: ignore[attr-defined]
    for item in outlines:
        x, y = np.array(item.geometry.exterior.coords).T - 0.5
        axes.plot(x, y, color=INK, linewidth=0.5)  # type: ignore[attr-defined]
    finish(axes, title)


def finish(axes: object, title: str) -> None:
    """A title and no ticks."""
    axes.set_title(title, fontsize=8, family="monospace")  # type: ignore[attr-defined]
    axes.set_xticks([]), axes.set_yticks([])  # type: ignore[attr-defined]


def figure_of(count: int) -> tuple[Figure, list[object]]:
    """A row of panels."""
    figure = Figure(figsize=(2.35 * count, 2.9), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, count))


def save(figure: Figure, name: str, legend: Sequence[tuple[int, str]]) -> None:
    """Write a figure with its legend below."""
    handles = [Patch(facecolor=COLORS[v], edgecolor=INK, linewidth=0.4, label=f"{v} {what}") for v, what in legend]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False, fontsize=8)
    figure.savefig(HERE / name, metadata={"Software": ""})


def overlaps() -> None:
    """Order against size."""
    figure, (first, second) = figure_of(2)
    for axes, rule in ((first, "order"), (second, "smallest-on-top")):
        text = f'overlap = "{rule}"\n' + REGION + STROMA + TUMOR + NECROSIS
        panel(axes, draw(text, TISSUE).draw(TILE), f'overlap = "{rule}"', TISSUE[1:])
    save(
        figure,
        "labels-overlap.png",
        [(1, "Stroma"), (2, "Tumor"), (3, "Necrosis"), (255, "unknown")],
    )


def derived() -> None:
    """Two derived classes."""
    figure, (first, second) = figure_of(2)
    flat = [item for k, item in enumerate(TISSUE) if k != 3]
    panel(
        first, draw(REGION + STROMA + FRONT + TUMOR + NECROSIS, flat).draw(TILE), 'of "Stroma" around "Tumor"', flat[1:]
    )
    panel(
        second, draw(REGION + STROMA + TUMOR + NECROSIS + RING, flat).draw(TILE), 'of "Tumor", grow_um = 12', flat[1:]
    )
    save(figure, "labels-derived.png", [(1, "Stroma"), (2, "Tumor"), (3, "Necrosis"), (4, "the derived class")])


def boundaries() -> None:
    """Boundaries of both kinds, and instances."""
    figure, (first, second, third) = figure_of(3)
    for axes, between in ((first, "instances"), (second, "classes")):
        text = f'[boundary]\nvalue = 3\nwidth_um = 2.5\nbetween = "{between}"\n' + NUCLEUS
        panel(axes, draw(text, NUCLEI).draw(TILE), f'between = "{between}"')
    numbers, _ = draw("instances = true\n" + NUCLEUS, NUCLEI).draw_instances(TILE)
    third.imshow(np.where(numbers > 0, numbers, np.nan), cmap="Set2", vmin=1, vmax=8, interpolation="nearest")  # type: ignore[attr-defined]
    for item in NUCLEI:
        at = item.geometry.representative_point()
        number = str(numbers[int(at.y), int(at.x)])
        third.text(at.x, at.y, number, ha="center", va="center", fontsize=8)  # type: ignore[attr-defined]
    finish(third, "instances = true")
    save(figure, "labels-boundary.png", [(0, "background"), (1, "Nucleus"), (3, "boundary")])


def channels() -> None:
    """One channel a class."""
    figure, every = figure_of(3)
    text = 'masks = "multi-label"\nignored = ["Blur"]\n' + REGION + STROMA + TUMOR + NECROSIS
    blurred = [*TISSUE, annotation(blob(70, 180, 20, 6), "Blur")]
    for axes, mask, name in zip(
        every, draw(text, blurred).draw_channels(TILE), ("Stroma", "Tumor", "Necrosis"), strict=True
    ):
        panel(axes, mask, f"channel {name}", blurred[1:])
    save(figure, "labels-channels.png", [(0, "outside"), (1, "inside"), (255, "unknown")])


if __name__ == "__main__":
    overlaps()
    derived()
    boundaries()
    channels()
