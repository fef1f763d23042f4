"""How qpkit doctor shows the installation."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict

import typer

from qpkit.cli.shared.console import say, table
from qpkit.report.values.checks import Check
from qpkit.workflows.doctor.installation.machine import machine_checks
from qpkit.workflows.doctor.installation.packages import package_checks

_COLUMNS = 80


def doctor_installation(*, as_json: bool) -> None:
    """Check the installation and show a row for each thing; exit code 1 if something that the core needs is broken."""
    checks = [*package_checks(), *machine_checks()]
    if importlib.util.find_spec("torch") is not None:
        checks += _training_checks(checks)
    is_healthy = all(check.state != "broken" for check in checks)
    if as_json:
        import msgspec

        record = {"is_healthy": is_healthy, "checks": [asdict(check) for check in checks]}
        typer.echo(msgspec.json.encode(record).decode())
    else:
        rows = [(check.name, check.state, "\n".join(filter(None, (check.found, check.advice)))) for check in checks]
        table("This installation of qpkit", ("", "", "what is there, and what to do"), rows, width=_COLUMNS)
        say("For a project: qpkit doctor PROJECT; for a GeoJSON file: qpkit doctor FILE.geojson")
    if not is_healthy:
        raise typer.Exit(1)


def _training_checks(checks: list[Check]) -> list[Check]:
    has_driver = any(check.name == "GPU driver" and check.state == "ok" for check in checks)
    try:
        from qpkit_train.machine.installation import training_checks

        return list(training_checks(has_driver=has_driver))
    except Exception as err:  # noqa: BLE001 # a broken torch raises whatever it likes; the core does without
        found = f"{type(err).__name__}: {str(err).splitlines()[0] if str(err) else 'no reason given'}"
        return [Check("torch", "warning", found, "install qpkit[train] anew, in an environment of its own")]
