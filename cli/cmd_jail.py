"""Jails by their engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import output
from cli.session import Json, parse_owner, session
from vault_svc.errors import ColibriError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vault_svc.ports.jail_engine import JailInfo
    from vault_svc.services.jails import Jails

app = typer.Typer(help="Jails: create, start, stop, list, run, destroy.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="JAIL", help="The jail's exact name.")]
Engine = Annotated[
    str | None, typer.Option(help="Whose jail, where two engines have one of this name.")
]


@app.command("create")
def create_jail(
    context: typer.Context,
    name: Name,
    engine: Annotated[str | None, typer.Option(help="Which kind: see colibri doctor.")] = None,
    owner: Annotated[
        str | None, typer.Option(metavar="UID:GID", help="Whose tree it is, as the jail counts.")
    ] = None,
    json: Json = False,
) -> None:
    """Create a jail.

    Example: colibri jail create acme --engine bubblewrap
    """
    from vault_svc.domain.receipt import Owner

    services = session(context).services
    settings = services.settings
    default = Owner(settings.default_owner_uid, settings.default_owner_gid)
    chosen = engine or settings.default_engine
    made = services.jails.create(name, chosen, parse_owner(owner) or default)
    if not services.isolates(chosen):
        output.say(f"warning: engine '{chosen}' is a plain tree, it isolates nothing")
    if json:
        output.document("jail-create", {"jail": _body(made)})
    else:
        output.say(f"jail '{name}' is at '{made.root}'" if made.root else f"jail '{name}' is made")


@app.command("list")
def list_jails(context: typer.Context, json: Json = False) -> None:
    """List the jails of every engine, and whose they are.

    An engine that does not answer is told beside the others' jails, and fails the command.

    Example: colibri jail list
    """
    jails = session(context).services.jails
    found = jails.list()
    if json:
        holders = jails.holders()
        items = (_body(i) | {"tenant": holders.get((i.engine, i.name))} for i in found.jails)
        output.listing("jail-list", items)
    else:
        whose = _whose(jails)
        rows = [(i.name, i.engine, _state(i), whose(i), i.root or "-") for i in found.jails]
        empty = "no jails" if not found.failed else "no jails of the engines that answered"
        output.table(("JAIL", "ENGINE", "STATE", "TENANT", "ROOT"), rows, empty=empty)
    _tell_failed(found.failed)


def _tell_failed(failed: Mapping[str, ColibriError]) -> None:
    """Say which engines did not answer: the first one's failure is the command's."""
    errors = [
        output.ReportedError(error.code, f"engine '{name}': {error.message}", hint=error.hint)
        for name, error in failed.items()
    ]
    for error in errors[1:]:
        output.say(f"warning: {error.line()}")
    if errors:
        raise errors[0]


def _whose(jails: Jails) -> Callable[[JailInfo], str]:
    """Return what names a jail's tenant; jails are shown to people without a registry too."""
    try:
        holders = jails.holders()
    except ColibriError as error:
        output.say(f"warning: whose the jails are is not known: {error.line()}")
        return lambda _: "?"
    return lambda info: holders.get((info.engine, info.name), "-")


@app.command("start")
def start_jail(
    context: typer.Context, name: Name, engine: Engine = None, json: Json = False
) -> None:
    """Let a jail run.

    Example: colibri jail start acme
    """
    info = session(context).services.jails.start(name, engine)
    if json:
        output.document("jail-start", {"jail": _body(info)})
    else:
        output.say(f"jail '{name}' is {_state(info)}")


@app.command("stop")
def stop_jail(
    context: typer.Context, name: Name, engine: Engine = None, json: Json = False
) -> None:
    """End all processes of a jail.

    Example: colibri jail stop acme
    """
    info = session(context).services.jails.stop(name, engine)
    if json:
        output.document("jail-stop", {"jail": _body(info)})
    else:
        output.say(f"jail '{name}' is {_state(info)}")


@app.command("run")
def run_in_jail(
    context: typer.Context,
    name: Name,
    command: Annotated[list[str], typer.Argument(metavar="-- CMD...", help="What to run.")],
    engine: Engine = None,
    owner: Annotated[
        str | None, typer.Option(metavar="UID:GID", help="As whom; the tenant's owner if left out.")
    ] = None,
    json: Json = False,
) -> None:
    """Run a command in a jail and end with its status.

    Its output, bounded, is shown when it ended. Nothing of this environment reaches it.

    Example: colibri jail run acme -- /bin/ls -l /home/app
    """
    ran = session(context).services.jails.run(name, engine, command, parse_owner(owner))
    if json:
        output.document(
            "jail-run",
            {
                "status": ran.status,
                "stdout": ran.stdout.decode(errors="replace"),
                "stderr": ran.stderr.decode(errors="replace"),
            },
        )
    else:
        output.passed_on(ran.stdout, ran.stderr)
    if ran.status:
        raise typer.Exit(ran.status if ran.status > 0 else 128 - ran.status)


@app.command("destroy")
def destroy_jail(
    context: typer.Context, name: Name, engine: Engine = None, json: Json = False
) -> None:
    """Destroy a jail without a tenant, and all in it.

    Example: colibri jail destroy acme
    """
    info = session(context).services.jails.destroy(name, engine)
    if json:
        output.document("jail-destroy", {"jail": _body(info)})
    else:
        output.say(f"jail '{name}' is destroyed")


def _state(info: JailInfo) -> str:
    return {None: "a tree", True: "running", False: "stopped"}[info.running]


def _body(info: JailInfo) -> dict[str, object]:
    return {"name": info.name, "engine": info.engine, "root": info.root, "running": info.running}
