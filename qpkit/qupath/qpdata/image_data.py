"""What stands in a .qpdata beside its objects: header, image type, stains, workflow, properties, in any order.

Source: qupath.lib.io.PathIO, v0.2.3 to v0.7.0.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from qpkit.errors import FormatError
from qpkit.qupath.java import values as javavalues
from qpkit.qupath.java.tape import StreamValue, Tape
from qpkit.qupath.java.values import Plain
from qpkit.qupath.qpdata.hierarchy import ROOT

HIERARCHY: Final = "qupath.lib.objects.hierarchy.PathObjectHierarchy"
IMAGE_TYPE: Final = "qupath.lib.images.ImageData$ImageType"
STAINS: Final = "qupath.lib.color.ColorDeconvolutionStains"
WORKFLOW: Final = "qupath.lib.plugins.workflow.Workflow"
HEADER: Final = "Data file version "
FILE_END: Final = "EOF"
"""The string that ends a data file."""

_KNOWN_VERSIONS: Final = (2, 3)


@dataclass(frozen=True, slots=True)
class WorkflowStep:
    """A step of QuPath's command history; `script` is None where it has none."""

    name: str
    script: str | None
    parameters: Mapping[str, Plain] = field(default_factory=dict)


@dataclass(slots=True)
class Places:
    """The known top-level values of a file; None for what it does not hold."""

    image_type: StreamValue | None = None
    stains: StreamValue | None = None
    workflow: StreamValue | None = None
    hierarchy: StreamValue | None = None
    properties: StreamValue | None = None
    end: StreamValue | None = None


def read_header(tape: Tape) -> tuple[int, str, list[str]]:
    """Read "Data file version 3" and the string behind it: version, string, what is not understood."""
    top = [tape.view(row) for _, row in zip(range(2), tape.top(), strict=False)]
    first = top[0].data if top and top[0].is_block else b""
    text = first[2:].decode("ascii", "replace")
    if not text.startswith(HEADER) or first[:2] != struct.pack(">H", len(text)):
        raise FormatError(f"no QuPath data file (it does not start with {HEADER!r})")
    version = int(text.removeprefix(HEADER)) if text.removeprefix(HEADER).isdecimal() else 0
    unknown = [] if version in _KNOWN_VERSIONS else [f"header {text!r}"]
    return version, top[1].text if len(top) > 1 and top[1].is_text else "", unknown


def find_places(tape: Tape, unknown: list[str]) -> Places:
    """Find the known values; whatever else there is gets a line in `unknown`."""
    places = Places()
    for number, row in enumerate(tape.top()):
        if number >= 2:
            _place(tape.view(row), places, unknown)
    if places.end is None:
        unknown.append("no end mark")
    if len(tape.data) > tape.end:
        unknown.append(f"{len(tape.data) - tape.end} bytes behind the end mark")
    if tape.resets:
        unknown.append("a reset of the stream")
    return places


_SLOTS: Final[Mapping[str, str]] = {
    IMAGE_TYPE: "image_type",
    "java.util.HashMap": "properties",
    HIERARCHY: "hierarchy",
    WORKFLOW: "workflow",
    STAINS: "stains",
}


def _place(view: StreamValue, places: Places, unknown: list[str]) -> None:
    slot = _SLOTS.get(view.class_name)
    if slot is not None and getattr(places, slot) is None:
        setattr(places, slot, view)
    elif view.is_text and view.text == FILE_END:
        places.end = view
    # Stains may be null, and the Locale changes nothing in what any version reads.
    elif not view.is_null and view.class_name != "java.util.Locale":
        unknown.append(f"{view.class_name} beside the hierarchy")


def find_root(places: Places, tape: Tape) -> int:
    """Find the row of the root object.

    Raises:
        FormatError: There is none.
    """
    if places.hierarchy is None:
        raise FormatError("there is no hierarchy in it; it is no QuPath data file or is damaged")
    root = javavalues.field(places.hierarchy, "rootObject")
    if root is None or root.class_name != ROOT:
        raise tape.fail("the hierarchy has no root object", places.hierarchy.row)
    return root.row


def read_step(view: StreamValue) -> WorkflowStep:
    """Read a DefaultScriptableWorkflowStep or SimplePluginWorkflowStep; others by their class only."""
    if view.class_name.endswith(".DefaultScriptableWorkflowStep"):
        name, script, parameters = (javavalues.field(view, key) for key in ("name", "script", "map"))
        plain = {str(javavalues.plain(k)): javavalues.plain(v) for k, v in javavalues.entries(parameters)}
        text = None if script is None else javavalues.text_or_none(script, view)
        return WorkflowStep(str(javavalues.plain(name) or ""), text, plain)
    texts = [item for item in view.own() if not item.is_block]
    if view.class_name.endswith(".SimplePluginWorkflowStep") and len(texts) >= 3:
        plugin, argument = javavalues.plain(texts[1]), javavalues.plain(texts[2])
        return WorkflowStep(str(javavalues.plain(texts[0])), f"runPlugin('{plugin}', '{argument}')")
    return WorkflowStep(view.class_name, None)
