"""Doctor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Final

import typer

from cli import hook_call, output
from cli.session import Json, Session, session
from vault_svc.domain.check import Check

_SECONDS: Final = 4.0


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("doctor")(doctor)


def doctor(context: typer.Context, json: Json = False) -> None:
    """Say whether this host is ready, and what it lacks.

    Example: colibri doctor
    """
    checks = [*session(context).services.doctor.examine(), *_served(session(context))]
    if json:
        output.listing("doctor", (asdict(check) for check in checks))
    else:
        rows = [(check.name, check.state, check.seen, check.hint or "-") for check in checks]
        output.table(("CHECK", "STATE", "SEEN", "HINT"), rows, empty="nothing to look at")
    failing = [check for check in checks if check.state == "fail"]
    if failing:
        first = failing[0]
        raise output.ReportedError(first.code, f"{first.name}: {first.seen}", hint=first.hint)


def _served(run: Session) -> list[Check]:
    """Ask the hooks' service, where there is or was one, as a hook of this run's settings would.

    Without a state there is nothing to deliver, so that it refuses and records nothing.
    """
    directory = run.settings.inside("hooks")
    try:
        if not Path(directory, hook_call.SOCKET).is_socket():
            return []
        before = ["--config", run.config_file] if run.config_file else []
        answer = hook_call.asked(directory, ["colibri", *before, "hook", "oci"], b"", _SECONDS)
        why = "" if answer else "is gone, or has other settings or another installation"
    except TimeoutError:
        why = "takes calls and does not answer"
    except OSError:
        return []
    if why:
        seen = f"hooks of these settings deliver by themselves: the service {why}"
        return [Check("hook service", "warn", seen, "start colibri hook serve anew")]
    return [Check("hook service", "ok", "answers hooks of these settings")]
