"""Self-contained HTML pages: templates of this folder, pictures inside the page, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import io
from importlib import resources
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image


def render(template: str, **values: Any) -> str:
    """Fill in a template of this package; everything but pictures is escaped.

    Args:
        template: Name, without ".html".
        values: What the template speaks of.
    """
    folder = jinja2.FunctionLoader(
        lambda name: resources.files("qpkit.report.pages").joinpath("templates", name).read_text(encoding="utf-8")
    )
    environment = jinja2.Environment(
        loader=folder, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["count"] = lambda number: f"{number:,}"
    environment.filters["color"] = lambda rgb: "#{:02x}{:02x}{:02x}".format(*rgb)
    return environment.get_template(f"{template}.html").render(values)


def picture(pixels: NDArray[np.uint8], *, quality: int = 82) -> Markup:
    """Encode (h, w, 3) uint8 as a JPEG data URI."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=quality)
    return _uri("jpeg", content.getvalue())


def png_picture(content: bytes) -> Markup:
    """A finished PNG file as a data URI."""
    return _uri("png", content)


def _uri(kind: str, content: bytes) -> Markup:
    return Markup(f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}")
