"""The slots of a Darwin item: the images that are annotated together, each with its name and size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from qpkit.formats.shared.drawing import ImageFacts

SAME_NAMES: Final = "names of images that are not all different left out"
"""Of writers: an image is then called by its item and slot."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One image of an item: the slot's name (of any type, as the file has it), and what is known of the image."""

    name: object
    image: ImageFacts


def read_slots(record: Mapping[str, Any], image: ImageFacts) -> tuple[list[Slot], str | None]:
    """Find the images of an item.

    Args:
        record: The file.
        image: What the user says of the image; it comes first only where there is one.

    Returns:
        (slots, the item's name): one slot at least; the name is None where it is that of the only image.
    """
    item = record.get("item") or record.get("image") or {}
    item = item if isinstance(item, dict) else {}
    name = item.get("name", item.get("filename"))
    listed = item.get("slots")
    found = [slot for slot in listed if isinstance(slot, dict)] if isinstance(listed, list) else []
    if len(found) < 2:
        sized = found[0] if found else item
        facts = ImageFacts.stated(name, sized.get("width"), sized.get("height"))
        return [Slot(sized.get("slot_name"), image.filled(facts))], None
    several = [
        Slot(slot.get("slot_name"), ImageFacts.stated(own, slot.get("width"), slot.get("height")).filled(image))
        for slot, own in zip(found, _names(found, name), strict=True)
    ]
    return several, str(name) if name else None


def _names(slots: Sequence[Mapping[str, Any]], item_name: object) -> list[str]:
    """Call each image by its file, or by the item and the slot where two would be called the same."""
    sources = [slot.get("source_files") for slot in slots]
    files = [s[0].get("file_name") if isinstance(s, list) and s and isinstance(s[0], dict) else None for s in sources]
    if len({file for file in files if isinstance(file, str)}) == len(slots):
        return [str(file) for file in files]
    return [f"{item_name} {slot.get('slot_name')}" for slot in slots]


def write_item(images: Sequence[ImageFacts], name: str) -> tuple[dict[str, Any], int]:
    """Make an item of images; their slots are called "0", "1" ...

    Args:
        images: One at least.
        name: Of the item; an only image with a name gives its own.

    Returns:
        (record, how many names of images it does not hold).
    """
    names = [image.name for image in images]
    if len(images) == 1:
        return {"name": names[0] or name, "path": "/", "slots": [_slot("0", images[0])]}, 0
    stated = {image_name for image_name in names if image_name is not None}
    are_names = len(stated) == len(images)
    files = [{"source_files": [{"file_name": image_name}]} if are_names else {} for image_name in names]
    slots = [_slot(str(n), image) | file for n, (image, file) in enumerate(zip(images, files, strict=True))]
    return {"name": name, "path": "/", "slots": slots}, 0 if are_names else len(names) - names.count(None)


def _slot(name: str, image: ImageFacts) -> dict[str, Any]:
    slot = {"type": "image", "slot_name": name, "width": image.width, "height": image.height}
    return {key: value for key, value in slot.items() if value is not None}
