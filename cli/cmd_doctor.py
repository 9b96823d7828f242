"""Doctor."""

from __future__ import annotations

from dataclasses import asdict

import typer

from cli import output
from cli.session import Json, session


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("doctor")(doctor)


def doctor(context: typer.Context, json: Json = False) -> None:
    """Say whether this host is ready, and what it lacks.

    Example: colibri doctor
    """
    checks = session(context).services.doctor.examine()
    if json:
        output.listing("doctor", (asdict(check) for check in checks))
    else:
        rows = [(check.name, check.state, check.seen, check.hint or "-") for check in checks]
        output.table(("CHECK", "STATE", "SEEN", "HINT"), rows, empty="nothing to look at")
    failing = [check for check in checks if check.state == "fail"]
    if failing:
        first = failing[0]
        raise output.ReportedError(first.code, f"{first.name}: {first.seen}", hint=first.hint)
