"""Run agents: spawn-agent in a tenant's jail, spawn-local in none."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import output
from cli.session import session
from vault_svc.errors import ColibriError, printable

Command = Annotated[
    list[str], typer.Argument(metavar="-- CMD...", help="What to run, and its arguments.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for name, command in (("spawn-agent", spawn_agent), ("spawn-local", spawn_local)):
        app.command(name)(command)


def spawn_agent(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id.")],
    command: Command,
    jail_name: Annotated[
        str | None, typer.Option(help="Expected jail; must equal the row's.")
    ] = None,
    jail_root: Annotated[
        str | None, typer.Option(help="Expected root; must equal the engine's answer.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="Expected engine; must equal the row's.")
    ] = None,
    ephemeral: Annotated[
        bool, typer.Option("--ephemeral", help="Make the jail for this run, destroy it afterwards.")
    ] = False,
) -> None:
    """Run a command in a tenant's jail, with its secrets.

    They are delivered first; then a shell in the jail loads the file and becomes the command, as
    the tenant's user. Ends with its status. Its output and our signals pass through.
    Where each secret has a file, nothing is loaded: the command reads them in the row's directory.

    Example: colibri spawn-agent acme -- /usr/bin/env
    """
    from vault_svc.services.spawn import Wanted

    wanted = Wanted(tenant, jail_name, jail_root, engine, ephemeral)
    raise typer.Exit(session(context).services.spawner(_warn).agent(wanted, command))


def _warn(what: str) -> None:
    output.say(f"warning: {what}")


def spawn_local(context: typer.Context, command: Command) -> None:
    """Run a command on this host, in no jail, without secrets.

    As you, or for root as the default owner; its environment is empty, and what it leaves behind
    in its session ends with it.

    Example: colibri spawn-local -- /usr/bin/id
    """
    try:
        status = session(context).services.local(command)
    except ColibriError as error:
        if error.code != "helper_missing":
            raise
        what = f"there is no program '{printable(command[0])}' that can be run"
        raise ColibriError(error.code, what, hint="check its path") from None
    raise typer.Exit(status)
