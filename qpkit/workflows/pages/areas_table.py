"""Areas and fractions of classes as a table of a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qpkit.workflows.tables.places import Measured


def areas_table(rows: Sequence[Measured]) -> dict[str, Any]:
    """A row for each class in each place; objects only where objects were measured."""
    counted = any(row.objects is not None for row in rows)
    columns = ("", "class", *(("objects",) if counted else ()), "area", "of", "fraction")
    return {"columns": columns, "rows": [_cells(row, counted=counted) for row in rows]}


def _cells(row: Measured, *, counted: bool) -> tuple[str, ...]:
    place = {
        "region": f"{row.slide}: {row.region}", "slide": row.slide, "patient": f"patient {row.patient}", "all": "all",
    }[row.level]  # fmt: skip
    area = f"{row.area_px2:,.0f} px²" if row.area_mm2 is None else f"{row.area_mm2:.4f} mm²"
    of = "-" if row.of_mm2 is None else f"{row.of_mm2:.4f} mm²"
    fraction = "-" if row.fraction is None else f"{row.fraction:.2%}"
    objects = (f"{row.objects:,}",) if counted else ()
    return place, row.class_name, *objects, area, of, fraction
