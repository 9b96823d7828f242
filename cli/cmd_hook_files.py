"""The hook's files: install, uninstall, show."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import output
from cli.asked import OnFailure
from cli.cmd_hook import Failing
from cli.session import Json, Session, session
from vault_svc.errors import ColibriError

if TYPE_CHECKING:
    from vault_svc.domain.hookfiles import Call, HookFile
    from vault_svc.services.hook_install import Installed
    from vault_svc.settings import Settings

Engine = Annotated[
    str,
    typer.Argument(
        metavar="ENGINE",
        help="podman (and what reads hooks.d), nspawn, bastille; service: what answers them.",
    ),
]
Directory = Annotated[
    str | None, typer.Option(help="Where the engine looks, if not in its usual place.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")]
_GRACE_SECONDS = 10
"""What the engine waits longer than we do, so that it hears our reason."""


def register(app: typer.Typer) -> None:
    """Add the commands to the group."""
    for name, command in (("install", install), ("uninstall", uninstall), ("show", show)):
        app.command(name)(command)


def install(
    context: typer.Context,
    engine: Engine,
    directory: Directory = None,
    on_failure: Failing = OnFailure.REFUSE,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Write the file by which an engine calls the hook.

    It calls this colibri with the settings of this run: --config and COLIBRI_* go into it.
    Safe to repeat. A file of that name that colibri did not write is left, and refused.

    Example: colibri hook install podman --dry-run
    """
    wanted = _wanted(session(context), engine, directory, on_failure)
    done = session(context).services.hook_installer.install(wanted, dry_run=dry_run)
    _tell(done, json)


def uninstall(
    context: typer.Context,
    engine: Engine,
    directory: Directory = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Remove the file by which an engine calls the hook.

    Example: colibri hook uninstall podman
    """
    wanted = _wanted(session(context), engine, directory, OnFailure.REFUSE)
    done = session(context).services.hook_installer.uninstall(wanted, dry_run=dry_run)
    _tell(done, json, content=False)


def show(
    context: typer.Context,
    engine: Engine,
    directory: Directory = None,
    on_failure: Failing = OnFailure.REFUSE,
    json: Json = False,
) -> None:
    """Show the file that install would write, and what stands there.

    Example: colibri hook show nspawn
    """
    wanted = _wanted(session(context), engine, directory, on_failure)
    _tell(session(context).services.hook_installer.show(wanted), json)


def _wanted(run: Session, engine: str, directory: str | None, failing: OnFailure) -> HookFile:
    from vault_svc.domain.hookfiles import hook_file

    if directory is not None and not Path(directory).is_absolute():
        raise ColibriError("usage", "--directory is not absolute", hint="write the whole path")
    return hook_file(engine, _call(run, failing), directory)


def _call(run: Session, failing: OnFailure) -> Call:
    from vault_svc.domain.hookfiles import Call

    given = {k: v for k, v in os.environ.items() if k.startswith("COLIBRI_") and v}
    named = run.config_file or given.pop("COLIBRI_CONFIG", "")
    given.pop("COLIBRI_CONFIG", None)
    if "COLIBRI_DB_URL" in given:
        raise ColibriError(
            "usage",
            "COLIBRI_DB_URL may hold a password, it is not written into an engine's file",
            hint="put db_url into colibri.toml, which only you can read",
        )
    if os.geteuid() != 0:  # an ordinary user's engine calls it in a user namespace
        given["COLIBRI_KNOWN_WAY"] = ",".join(run.services.known_way())
    refuse = failing is OnFailure.REFUSE
    return Call(
        program=str(Path(sys.executable).with_name("colibri")),
        before=("--config", str(Path(named).absolute())) if named else (),
        after=() if refuse else (f"--on-provision-failure={failing.value}",),
        environment=given,
        timeout_seconds=round(run.settings.hook_timeout_seconds) + _GRACE_SECONDS,
        by=_short_way(run.settings),
    )


def _short_way(settings: Settings) -> tuple[str, ...]:
    """Return what asks a resident process first, and is there sooner than colibri."""
    script = str(Path(__file__).with_name("hook_start.py"))
    seconds = f"{settings.hook_timeout_seconds:g}"
    return (sys.executable, "-I", "-S", script, settings.inside("hooks"), seconds)


def _tell(done: Installed, as_json: bool, *, content: bool = True) -> None:
    file = done.file
    if as_json:
        body: dict[str, Any] = {
            "path": file.path,
            "before": str(done.before),
            "after": str(done.after),
            "changed": done.changed,
            "content": file.content,
            "next": file.then,
        }
        output.document("hook-file", body)
        return
    moved = done.before != done.after
    verb = "is" if done.changed or not moved else "would be"
    output.say(f"'{file.path}' {verb} {done.after}")
    if content and (done.after == "installed" or not moved):
        output.text(file.content)
        output.say(f"next: {file.then}")
