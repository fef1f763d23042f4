"""A study.toml for what was found: every choice with the reason for it, the others as comments."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from qpkit.errors import about
from qpkit.workflows.evaluate.settings import PATIENT_KEY
from qpkit.workflows.study.look import Found

FINEST: Final = 0.5
"""um/px of an export of finer slides: tissue classes are told apart there, and a tile sees four times as much of it."""

FEW: Final = 10
"""Fewer patients than this are better tested by cross-validation."""

_SPLITS: Final = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a section.

    Args:
        key: Of the option; "" is a comment alone.
        value: Its value.
        why: Comment behind it, or the comment.
        is_set: Whether it counts; else it stands there as a comment, to be taken up.
    """

    key: str
    value: Any = None
    why: str = ""
    is_set: bool = True

    def __str__(self) -> str:
        """As in the file."""
        if not self.key:
            return f"# {self.why}"
        said = f"{'' if self.is_set else '# '}{self.key} = {json.dumps(self.value, ensure_ascii=False)}"
        return f"{said:<34} # {self.why}" if self.why else said


def draft(found: Found, *, name: str, source: str, out: str, gpu: bool) -> str:
    """Write the text of a study.toml.

    Args:
        found: What there is.
        name: Of the file.
        source: Its place, as seen from the file.
        out: Folder for everything that is made.
        gpu: Whether a network with an encoder from ImageNet can be trained in reasonable time.
    """
    sections = {
        "study": [Line("source", source), Line("out", out, "everything that is made; another round: another name")]
    }
    if found.kind == "project":
        sections |= _of_project(found, gpu)
    else:
        sections |= _of_folder(found, gpu)
    parts = ["\n".join(f"# {line}".rstrip() for line in _head(found, name))]
    for section, lines in sections.items():
        title = f"# [{section[2:]}]" if section.startswith("# ") else f"[{section}]"
        parts.append("\n".join([title, *map(str, lines)]))
    return "\n\n".join(parts) + "\n"


def _head(found: Found, name: str) -> list[str]:
    lines = [f"A study of qpkit. All of it: qpkit run {name}. Its commands: qpkit run {name} --dry-run",
             "Sections are steps, keys are options of that verb (docs/cli.md). What has no section is not done.",
             ""]  # fmt: skip
    what = "slides" if found.kind == "project" else "images with masks"
    lines.append(f"Found: {found.images} {what}, {found.annotated} of them annotated.")
    if found.classes:
        lines.append("Annotations: " + ", ".join(f"{name} {count:,}" for name, count in found.classes.items()) + ".")
    if found.metadata:
        lines.append("Metadata of all of them: " + ", ".join(_told(found, key) for key in found.metadata) + ".")
    lines += [f"Cannot be read: {about(name, reason)}" for name, reason in found.broken.items()]
    return lines + list(found.notes)


def _told(found: Found, key: str) -> str:
    values = list(found.metadata[key])
    shown = "/".join(values) if len(values) <= 4 else f"{len(values)} values"
    return f"{key} ({shown})"


def _of_project(found: Found, gpu: bool) -> dict[str, list[Line]]:
    groups, split = _split(found)
    export = [*_mpp(found), Line("tile-size", 512, "px at that um/px"), split]
    if "Region*" in found.classes:
        export.append(Line("", why="Inside Region* what nobody annotated is background, outside it is unknown."))
    else:
        export.append(
            Line("unannotated", "background", "or ignore: what nobody annotated. Background says that all was drawn")
        )
    export.append(Line("labels", "labels.toml", "merges or leaves out classes (docs/labels.md)", is_set=False))
    sections = {"export": export, "train": _train(gpu)}
    evaluate = [Line("", why="The slides of the test split, which the model has not seen.")]
    if groups < 3:
        evaluate = [Line("", why=f"{groups} group(s) of slides: too few for train, val and test.")]
    sections["evaluate" if groups >= 3 else "# evaluate"] = evaluate
    key, count = _patients(found)
    if 3 <= count < FEW:
        sections["# cross-validate"] = [
            Line("", why=f"{count} {'patients' if key else 'slides'} are few for one split; this tests each once."),
            Line("by", f"patient:{key}" if key else "slide", is_set=False),
            Line("folds", min(count, 5), "as many trainings", is_set=False),
            Line("recipe", _recipe(gpu), is_set=False),
        ]
    sections["predict"] = [
        Line("", why="All slides of the project, those of the training, too."),
        Line("entry", ["NAME OF A SLIDE"], "only these", is_set=False),
    ]
    sections["import-predictions"] = [
        Line(
            "",
            why="Into the project, which is backed up first; close it in QuPath. Taken out again by --undo RUN.",
        ),
        Line("min-area-um2", 100, "smaller polygons are left out", is_set=False),
    ]
    return sections


def _of_folder(found: Found, gpu: bool) -> dict[str, list[Line]]:
    first = [
        Line("mpp", found.mpps[0] or 0.5, "um per px of the images", is_set=found.mpps[0] is not None),
        Line("tile-size", 512, "px; larger images are cut", is_set=False),
        Line("classes", ["Tumor=1"], "what the values of the masks mean (docs/folders.md)", is_set=False),
        Line("instances", "Nucleus", "instead of classes: each number in a mask is one object", is_set=False),
        Line("group-pattern", "^([^_]+)", "images of one patient, by the start of their names", is_set=False),
    ]
    return {
        "import-tiles": first,
        "train": _train(gpu),
        "evaluate": [Line("", why="The images of the test split, which the model has not seen.")],
        "export-model": [Line("", why="For other programs: ONNX.")],
    }


def _train(gpu: bool) -> list[Line]:
    why = "an ImageNet encoder, for a GPU" if gpu else "small, for a CPU; qpkit recipes lists all"
    return [Line("recipe", _recipe(gpu), why), Line("set", ["optim.epochs=20"], "see docs/training.md", is_set=False)]


def _recipe(gpu: bool) -> str:
    return "unet-resnet34" if gpu else "unet-resnet18"


def _mpp(found: Found) -> list[Line]:
    known = [mpp for mpp in found.mpps if mpp is not None]
    lines = []
    if None in found.mpps:
        lines.append(Line("slide-mpp", 0.25, "some slides do not state their um/px: say it here", is_set=False))
    if not known:
        return [*lines, Line("downsample", 1, "um/px is not known; say slide-mpp and mpp instead")]
    slides = " and ".join(f"{mpp:.4g}" for mpp in ([known[0], known[-1]] if len(known) > 1 else known))
    mpp = float(f"{max(FINEST, known[-1]):.4g}")
    return [*lines, Line("mpp", mpp, f"um/px; slides have {slides}" + (", the coarsest" if mpp > FINEST else ""))]


def _split(found: Found) -> tuple[int, Line]:
    """How many groups can be shared out, and how."""
    for key, values in found.metadata.items():
        if key.casefold() == "split" and {value.casefold() for value in values} <= _SPLITS:
            has_test = any(value.casefold().startswith("test") for value in values)
            return 3 if has_test else 2, Line("split", f"metadata:{key}", f"as the project says: {_told(found, key)}")
    patient, count = _patients(found)
    if patient:
        return count, Line("split", f"patient:{patient}", f"{count} patients, each in one split")
    why = "no slide names its patient; if several are one's, add it as metadata in QuPath"
    return count, Line("split", "slide", why)


def _patients(found: Found) -> tuple[str, int]:
    """The metadata key that names the patient and how many there are; "" and the annotated slides where none does."""
    key = next((key for key in found.metadata if key.casefold() == PATIENT_KEY.casefold()), "")
    return key, len(found.metadata[key]) if key else found.annotated
