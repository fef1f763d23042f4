"""How qpkit doctor shows a project: one row for findings that say the same of several entries."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from qpkit.cli.shared.console import progress, say, say_all, table
from qpkit.cli.shared.stamps import warn_of_stamps
from qpkit.errors import ConfigError, QpkitError
from qpkit.qupath import open_project
from qpkit.settings import fields_of
from qpkit.workflows.doctor.findings import Finding, ProjectReport, Spot
from qpkit.workflows.doctor.fix import FixReport, fix_project
from qpkit.workflows.doctor.project import DoctorSettings, examine_project

_ENTRIES = 3
_SPOTS = 2
_ID = 8


def doctor_project(path: Path, settings: DoctorSettings, *, fix: bool, as_json: bool) -> None:
    """Examine (and mend) a project and show what was found."""
    if fix:
        _fix(path, settings, as_json=as_json)
        return
    with progress("examine") as update:
        report = examine_project(path, settings, on_progress=update)
    if as_json:
        _print_json(report)
    else:
        _show(report)
        if report.fixable():
            say(f"qpkit doctor --fix does {len(report.fixable())} of these; close QuPath first.")
    if not report.is_healthy:
        raise typer.Exit(1)


def _fix(path: Path, settings: DoctorSettings, *, as_json: bool) -> None:
    def on_plan(plan: Sequence[Finding]) -> None:
        if not as_json:
            _show_plan(plan)

    # A project that cannot be opened has no other files to warn of.
    with contextlib.suppress(QpkitError):
        warn_of_stamps(open_project(path))
    with progress("examine") as update:
        fixed = fix_project(path, settings, on_plan=on_plan, on_progress=update)
    if as_json:
        _print_json(fixed.left, fixed)
    else:
        _show_fixed(fixed)
    if fixed.failed or not fixed.left.is_healthy:
        raise typer.Exit(1)


def _show(report: ProjectReport) -> None:
    count = f"{report.entries:,} entr{'y' if report.entries == 1 else 'ies'}, {report.objects:,} objects"
    title = f"{report.path}: QuPath {report.version or '?'}, {count}"
    if not report.findings:
        say(f"{title}: nothing found")
        return
    rows = [
        (item.severity, item.kind, _entries(group), _what(group), _remedy(group))
        for group in _groups(report.findings)
        for item in group[:1]
    ]
    table(title, ("", "kind", "entry", "what", "what to do"), rows)
    levels = [item.severity for item in report.findings]
    say(", ".join(f"{levels.count(level)} {level}s" for level in ("error", "warning", "note")))


def _show_plan(plan: Sequence[Finding]) -> None:
    rows = [(item.kind, _entries(group), _what(group), item.fix) for group in _groups(plan) for item in group[:1]]
    table("Will be done", ("kind", "entry", "what", "how"), rows)


def _show_fixed(fixed: FixReport) -> None:
    say_all("not done: ", fixed.failed)
    say_all("kept: ", fixed.kept)
    say(f"{len(fixed.done)} done" if fixed.done else "nothing to mend; no file was touched")
    _show(fixed.left)


def _groups(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Put findings together that say the same of several entries."""
    groups: dict[tuple[Any, ...], list[Finding]] = {}
    for item in findings:
        alone = item.entry if item.spots and not item.about else None
        is_fixed = item.repair is not None
        groups.setdefault((item.kind, item.about or item.what, item.remedy, is_fixed, alone), []).append(item)
    return list(groups.values())


def _entries(group: Sequence[Finding]) -> str:
    names = [f"{item.entry}: {item.entry_name}" for item in group if item.entry is not None]
    more = f"\nand {len(names) - _ENTRIES} more" if len(names) > _ENTRIES else ""
    return "\n".join(names[:_ENTRIES]) + more


def _what(group: Sequence[Finding]) -> str:
    item = group[0]
    lines = [f"{sum(other.count for other in group):,} {item.about}" if len(group) > 1 and item.about else item.what]
    if item.where:
        lines.append(item.where + (" ..." if len(group) > 1 else ""))
    if item.spots and item.severity != "note":
        more = "; ..." if item.count > _SPOTS else ""
        lines.append("; ".join(map(_spot, item.spots[:_SPOTS])) + more)
    return "\n".join(lines)


def _spot(spot: Spot) -> str:
    place = "" if spot.x is None or spot.y is None else f"x {spot.x:,.0f} y {spot.y:,.0f}"
    return ", ".join(part for part in (place, spot.text, (spot.id or "")[:_ID]) if part)


def _remedy(group: Sequence[Finding]) -> str:
    item = group[0]
    more = " ..." if len({other.fix for other in group}) > 1 else ""
    return "\n".join(part for part in (f"--fix: {item.fix}{more}" if item.fix else "", item.remedy) if part)


def _print_json(report: ProjectReport, fixed: FixReport | None = None) -> None:
    import msgspec

    record: dict[str, Any] = {
        "project": str(report.path),
        "version": report.version,
        "entries": report.entries,
        "objects": report.objects,
        "is_healthy": report.is_healthy,
        "findings": [finding.record() for finding in report.findings],
    }
    if fixed is not None:
        record["fixed"] = {
            "done": [finding.record() for finding in fixed.done],
            "failed": list(fixed.failed),
            "kept": [str(path) for path in fixed.kept],
        }
    typer.echo(msgspec.json.encode(record).decode())


def require_no_project_options(settings: DoctorSettings) -> None:
    """Refuse options that only make sense for a project.

    Raises:
        ConfigError: Names the first.
    """
    for field in fields_of(DoctorSettings):
        if getattr(settings, field.name):
            raise ConfigError(f"{field.option} goes with a QuPath project, not with a GeoJSON file")
