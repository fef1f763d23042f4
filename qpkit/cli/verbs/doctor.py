"""qpkit doctor: what is wrong with a project, a GeoJSON file or this installation; mends the first two with --fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from qpkit.cli.shared.console import say, say_all, table
from qpkit.cli.shared.doctor_findings import doctor_project, require_no_project_options
from qpkit.cli.shared.installation import doctor_installation
from qpkit.errors import ConfigError
from qpkit.workflows.doctor.geojson import GeoJsonDiagnosis, GeoJsonFix, RuleFinding, diagnose_geojson, fix_geojson
from qpkit.workflows.doctor.project import DoctorSettings


def command(
    path: Path | None = typer.Argument(
        None, help="QuPath project, or GeoJSON (.geojson, .json, also .gz or .zip); without it, this installation."
    ),
    fix: bool = typer.Option(
        False,
        "--fix",
        help="Project: do what the last column says, after a backup; close QuPath first. "
        "GeoJSON: write a mended copy that every QuPath takes; PATH is not touched.",
    ),
    *,
    settings: DoctorSettings,
    out: Path | None = typer.Option(
        None, "--out", "-o", help="GeoJSON: name of the copy; default: NAME.fixed.geojson beside."
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="GeoJSON: replace the copy if it is there already."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Examine a QuPath project, a GeoJSON file or this installation; nothing is changed without --fix.

    Project: missing and moved images, unreadable data and whether a backup helps, wrong, empty, double and
    out-of-image objects, overlaps of classes, class names that differ by a hair, missing um/px. Errors need somebody,
    warnings are hardly meant, notes are good to know.

    GeoJSON: which QuPath from 0.3 to 0.7 would refuse it and why, and what they change without a word.

    Without a path: versions, packages, OpenSlide, GPU and driver, memory, cores, write access, encoders in the cache.

    Exit code 1 if there are errors (with --fix: if any are left), if a QuPath refuses the GeoJSON file (with --fix: if
    it could not be read to its end), or if something is broken that qpkit needs. Warnings and notes do not count.
    """
    if path is None:
        if fix or out is not None or overwrite or settings != DoctorSettings():
            raise typer.BadParameter("name the project or the GeoJSON file that the options are about")
        doctor_installation(as_json=as_json)
        return
    if out is not None and not fix:
        raise typer.BadParameter("-o names the mended copy; add --fix")
    if path.suffix == ".qpproj" or path.is_dir():
        if out is not None or overwrite:
            raise ConfigError("-o and --overwrite go with a GeoJSON file; a project is mended in its place")
        doctor_project(path, settings, fix=fix, as_json=as_json)
        return
    if path.suffix == ".qpdata":
        raise ConfigError(f"{path}: is one image's data; give its project, or look into it with qpkit info")
    require_no_project_options(settings)
    _doctor_geojson(path, fix=fix, out=out, overwrite=overwrite, as_json=as_json)


def _doctor_geojson(path: Path, *, fix: bool, out: Path | None, overwrite: bool, as_json: bool) -> None:
    diagnosis = diagnose_geojson(path)
    fixed = fix_geojson(path, out, overwrite=overwrite) if fix else None
    if as_json:
        _print_json(diagnosis, fixed)
    else:
        _show(diagnosis)
        if fixed is not None:
            _show_fix(fixed)
        elif not diagnosis.is_safe:
            say("qpkit doctor --fix writes a copy that all of them take.")
    is_done = diagnosis.is_safe if fixed is None else fixed.diagnosis.is_safe and not fixed.unread
    if not is_done:
        raise typer.Exit(1)


def _print_json(diagnosis: GeoJsonDiagnosis, fixed: GeoJsonFix | None) -> None:
    import msgspec

    record: dict[str, Any] = {
        "path": str(diagnosis.path),
        "features": diagnosis.features,
        "is_safe": diagnosis.is_safe,
        "verdicts": msgspec.to_builtins(diagnosis.verdicts),
        "changes": msgspec.to_builtins(diagnosis.changes),
    }
    if fixed is not None:
        record["fix"] = {
            "path": str(fixed.path),
            "written": fixed.written,
            "mended": fixed.mended,
            "changed": fixed.changed,
            "left_out": msgspec.to_builtins(fixed.left_out),
            "unread": list(fixed.unread),
            "is_safe": fixed.diagnosis.is_safe,
        }
    typer.echo(msgspec.json.encode(record).decode())


def _show(diagnosis: GeoJsonDiagnosis) -> None:
    rows = []
    for verdict in diagnosis.verdicts:
        if verdict.accepted:
            rows.append((verdict.version, f"imports {verdict.objects:,}", "", ""))
        for number, reason in enumerate(verdict.reasons):
            head = ("", "") if number else (verdict.version, "refuses")
            rows.append((*head, _text(reason, diagnosis), _where(reason.features, reason.examples)))
    count = f"{diagnosis.features:,} feature{'' if diagnosis.features == 1 else 's'}"
    table(f"{diagnosis.path}: {count}", ("QuPath", "verdict", "why", "features"), rows)
    if diagnosis.changes:
        changes = [
            (_span(item.versions), _text(item, diagnosis), _where(item.features, item.examples))
            for item in diagnosis.changes
        ]
        table("Changed without a word", ("QuPath", "what", "features"), changes)
    say("One refused feature aborts QuPath's whole import. Features are counted from 0. QuPath 0.2 has no import.")


def _show_fix(fixed: GeoJsonFix) -> None:
    rows = [("written", fixed.written), ("invalid polygons mended", fixed.mended), *fixed.changed.items()]
    refusing = [verdict.version for verdict in fixed.diagnosis.verdicts if not verdict.accepted]
    state = f"still refused by {', '.join(refusing)}" if refusing else "all versions take it"
    table(f"{fixed.path}: {state}", ("", "objects"), rows)
    if fixed.left_out:
        left_out = [(item.reason, _where(item.features, item.examples)) for item in fixed.left_out]
        table("Left out", ("why", "features"), left_out)
    say_all("not read to its end: ", fixed.unread)


def _text(finding: RuleFinding, diagnosis: GeoJsonDiagnosis) -> str:
    """What is wrong, with the file inside a zip."""
    inner = finding.document.removeprefix(str(diagnosis.path)).lstrip("/")
    return f"{inner}: {finding.text}" if inner else finding.text


def _where(features: int, examples: tuple[int, ...]) -> str:
    if not features:
        return ""
    more = ", ..." if features > len(examples) else ""
    return f"{features:,} ({', '.join(map(str, examples))}{more})"


def _span(versions: tuple[str, ...]) -> str:
    return versions[0] if len(versions) == 1 else f"{versions[0]} - {versions[-1]}"
