"""An export as an nnU-Net v2 data set: imagesTr, labelsTr, dataset.json, splits_final.json.

Source: nnU-Net's documentation/dataset_format.md and manual_data_splits.md (v2). Natural images are one RGB PNG per
case with the ending _0000; labels are consecutive from 0, an ignore label is the highest; the split goes into the
preprocessed folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from qpkit.core.labels import LabelMap
from qpkit.dataset.record import TileRecord
from qpkit.errors import LabelError
from qpkit.files import pretty_json

_FOLDER_NAME = re.compile(r"Dataset\d{3}_\w+")


def consecutive_labels(labels: LabelMap) -> LabelMap:
    """Renumber the values as nnU-Net wants them: background 0, the classes in their order, ignore the highest.

    Raises:
        LabelError: More classes than a mask can hold.
    """
    if len(labels.classes) > 253:
        raise LabelError(f"{len(labels.classes)} classes do not fit a mask beside background and ignore")
    classes = tuple(replace(item, value=i) for i, item in enumerate(labels.classes, start=1))
    ignore = len(classes) + 1
    new = {labels.background: 0, labels.ignore: ignore}
    new |= {old.value: item.value for old, item in zip(labels.classes, classes, strict=True)}
    boundary = labels.boundary and replace(labels.boundary, value=new[labels.boundary.value])
    return replace(labels, classes=classes, background=0, ignore=ignore, boundary=boundary)


def nnunet_paths(layer: str, name: str, suffix: str) -> str:
    """Lay out a tile as a training case: imagesTr/CASE_0000.png and labelsTr/CASE.png; other layers beside them."""
    case = case_name(name)
    if layer == "image":
        return f"imagesTr/{case}_0000{suffix}"
    return f"labelsTr/{case}{suffix}" if layer == "mask" else f"{layer}Tr/{case}{suffix}"


def case_name(name: str) -> str:
    """Name a case: dots make nnU-Net cut a name short."""
    return name.replace(".", "_")


def finish_dataset(root: Path, records: Sequence[TileRecord], labels: LabelMap, *, name: str) -> list[TileRecord]:
    """Move the test split into imagesTs and labelsTs, and write dataset.json and splits_final.json.

    Args:
        root: Folder with the cases of all splits in imagesTr and labelsTr.
        records: All tiles.
        labels: With consecutive values.
        name: Of the data set.

    Returns:
        The records with their new paths, in their order.
    """
    moved = [_moved(root, record) if record.split == "test" else record for record in records]
    training = [r for r in moved if r.split != "test"]
    classes: dict[str, Any] = {"background": 0} | {item.name: item.value for item in labels.classes}
    dataset = {
        "name": name,
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": classes | {"ignore": labels.ignore},
        "numTraining": len(training),
        "file_ending": ".png",
        "overwrite_image_reader_writer": "NaturalImage2DIO",
    }
    split = {part: [PurePosixPath(r.mask).stem for r in training if r.split == part] for part in ("train", "val")}
    _write(root / "dataset.json", dataset)
    if split["train"] and split["val"]:
        _write(root / "splits_final.json", [split])
    return moved


def remarks_on(folder: Path) -> list[str]:
    """What the user has to do with the folder before nnU-Net takes it."""
    remarks = ["nnU-Net draws its own folds by tile (leakage) unless splits_final.json lies in its preprocessed folder"]
    if not _FOLDER_NAME.fullmatch(folder.name):
        remarks.append(f"nnU-Net wants a folder named like Dataset501_Breast in nnUNet_raw, this one is {folder.name}")
    return remarks


def _moved(root: Path, record: TileRecord) -> TileRecord:
    def move(path: str) -> str:
        new = path.replace("Tr/", "Ts/", 1)
        if (root / path).exists():  # else an earlier run got here before it was killed
            (root / new).parent.mkdir(exist_ok=True)
            (root / path).replace(root / new)
        return new

    others = {layer: move(path) for layer, path in record.others.items()}
    return replace(record, image=move(record.image), mask=move(record.mask), others=others)


def _write(path: Path, content: object) -> None:
    path.write_bytes(pretty_json(content) + b"\n")
