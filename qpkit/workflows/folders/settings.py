"""How a folder of images and masks is read: options of the command line, or a dataset.toml in the folder."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from qpkit.dataset.leakage import LeakageKind, parse_leakage_kinds
from qpkit.dataset.splits import FRACTIONS, parse_fractions
from qpkit.errors import ConfigError, or_else
from qpkit.settings import Flag, Range, Settings, fields_of

DATASET_FILE: Final = "dataset.toml"
"""What a folder says of itself."""

TABLE_SUFFIXES: Final = (".toml", ".csv", ".tsv", ".txt")
"""Endings of files that say what mask values mean."""

UnlistedPixels = Literal["error", "ignore", "background"]
WithoutMask = Literal["error", "skip", "unlabelled"]
FolderSplit = Literal["auto", "stated", "group"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSettings(Settings):
    """How a folder of images and masks is read, cut and shared out.

    Args:
        images: Folder or pattern in FOLDER, such as rgb or "rgb/*_HE.png"; * is the name that image and mask share.
            Default: by words in the names of folders and files.
        masks: The same of the masks.
        classes: NAME=VALUE,VALUE or NAME=#rrggbb (repeatable; background= and ignore=, too); NAME alone where masks
            show one class; or a FILE: labels.toml, a CSV of classes, or a shipped map. Default: a class for each value.
        instances: Each number in a mask is one object: the class of all, a CSV of numbers and classes, or a folder with
            such a CSV for each image (NAME.csv).
        unlisted: error, ignore or background: what pixels are whose value no class explains.
        without_mask: error, skip or unlabelled (all ignore): what becomes of images without a mask.
        mpp: um per px of the images. Default: what the files say, else unknown.
        tile_size: Tile px. Default: 512, or less if all images are smaller.
        overlap: Tile px shared by neighbours.
        split: auto, stated (train, val, test by folders, pattern or CSV) or group (drawn by --fractions); auto is
            stated where something is stated.
        fractions: train:val:test, for splits that are drawn.
        seed: Of the draw.
        group_pattern: Regular expression on the file name, else on the path in FOLDER; its (?P<group>...) or first
            group is kept together in one split, (?P<split>...) names the split. Default: every image by itself.
        groups: CSV with a column of file names, one of groups (group or patient, see --group-column), perhaps split.
        group_column: Column of --groups that is kept together.
        allow: Accept group or image leakage (repeatable).
        store: files, or shards (WebDataset tar).
    """

    images: Annotated[str | None, Flag(metavar="FOLDER|PATTERN")] = None
    masks: Annotated[str | None, Flag(metavar="FOLDER|PATTERN")] = None
    classes: Annotated[tuple[str, ...], Flag(metavar="NAME=VALUE|NAME|FILE")] = ()
    instances: Annotated[str | None, Flag(metavar="CLASS|TABLE|DIR")] = None
    unlisted: UnlistedPixels = "error"
    without_mask: WithoutMask = "error"
    mpp: Annotated[float | None, Range(above=0)] = None
    tile_size: Annotated[int | None, Range(at_least=1)] = None
    overlap: Annotated[int, Range(at_least=0)] = 0
    split: FolderSplit = "auto"
    fractions: Annotated[tuple[float, float, float], Flag(parse=parse_fractions, shown="8:1:1")] = FRACTIONS
    seed: Annotated[int, Range(at_least=0)] = 0
    group_pattern: Annotated[str | None, Flag(metavar="REGEX")] = None
    groups: Annotated[Path | None, Flag(metavar="CSV")] = None
    group_column: str | None = None
    allow: Annotated[frozenset[LeakageKind], Flag(name="--allow-leakage", parse=parse_leakage_kinds, many=True)] = (
        frozenset()
    )
    store: Literal["files", "shards"] = "files"

    def faults(self) -> Iterator[str]:
        """Name what does not go together."""
        if self.classes and self.instances is not None:
            yield "--classes and --instances exclude each other; --instances takes a CSV of numbers and classes"
        if (self.images is None) != (self.masks is None):
            yield "--images and --masks go together; give both"
        if self.group_pattern is not None and self.groups is not None:
            yield "--group-pattern and --groups exclude each other; give one"
        if self.group_column is not None and self.groups is None:
            yield "--group-column goes with --groups"
        if self.group_pattern is not None:
            yield from _pattern_faults(self.group_pattern)

    def to_builtins(self) -> dict[str, Any]:
        """Plain values for export.json; what masks mean stands there by itself."""
        return {
            "images": self.images,
            "masks": self.masks,
            "classes": list(self.classes),
            "instances": self.instances,
            "unlisted": self.unlisted,
            "without_mask": self.without_mask,
            "mpp": self.mpp,
            "tile_size_px": self.tile_size,
            "overlap_px": self.overlap,
            "split": self.split,
            "fractions": list(self.fractions),
            "seed": self.seed,
            "group_pattern": self.group_pattern,
            "groups": None if self.groups is None else str(self.groups),
            "group_column": self.group_column,
            "allow_leakage": sorted(self.allow),
            "store": self.store,
        }


def _pattern_faults(pattern: str) -> Iterator[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as err:
        yield f"--group-pattern {pattern!r}: no regular expression ({err})"
        return
    if not compiled.groups:
        yield f"--group-pattern {pattern!r}: has to have a group in brackets, such as ^(P[0-9]+)_"


def with_dataset_file(folder: Path, said: FolderSettings, dataset: Path | None = None) -> FolderSettings:
    """Take from a dataset.toml what was not said: its keys are the settings, and `classes` may be a table.

    Args:
        folder: Of the images; its dataset.toml is read if there is one.
        said: What is not its default here counts more than the file.
        dataset: Another file; the paths in it start at its folder.

    Raises:
        ConfigError: It is missing, not TOML, or has an unknown key or a value that is none.
    """
    path = dataset or folder / DATASET_FILE
    if dataset is None and not path.is_file():
        return said
    fields = {field.name: field for field in fields_of(FolderSettings)}
    keys = {field.option.removeprefix("--").replace("-", "_"): name for name, field in fields.items()}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise ConfigError(f"{path}: cannot be read as TOML ({err})") from err
    unknown = [key for key in tables if key not in keys]
    if unknown:
        raise ConfigError(f"{path}: unknown key {unknown[0]!r}; {or_else(unknown[0], keys)}")
    try:
        read = {keys[key]: _value(keys[key], value, path.parent) for key, value in tables.items()}
        stated = FolderSettings.of(**read)
    except (ConfigError, TypeError, AttributeError, ValueError) as err:
        raise ConfigError(f"{path}: {err}") from err
    chosen = {
        name: getattr(said if getattr(said, name) != field.default else stated, name) for name, field in fields.items()
    }
    return FolderSettings(**chosen)


def _value(name: str, value: Any, root: Path) -> Any:
    """A value as the command line would take it; files from the folder of dataset.toml."""
    if name == "classes":
        texts = [_entry(key, item) for key, item in value.items()] if isinstance(value, Mapping) else value
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ConfigError(
                'classes is a table, [classes] with NAME = VALUE in each line, or texts like "NAME=VALUE"'
            )
        return tuple(str(root / t) if Path(t).suffix in TABLE_SUFFIXES and "=" not in t else t for t in texts)
    if name == "groups":
        return root / str(value)
    if name == "instances" and (root / str(value)).exists():
        return str(root / str(value))
    return value


def _entry(name: str, value: Any) -> str:
    values = value if isinstance(value, list) else [value]
    return f"{name}={','.join(map(str, values))}"
