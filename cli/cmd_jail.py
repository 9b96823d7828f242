"""Jails by their engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import output
from cli.session import Json, parse_owner, session

if TYPE_CHECKING:
    from vault_svc.ports.jail_engine import JailInfo

app = typer.Typer(help="Jails: create, list, destroy.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="JAIL", help="The jail's exact name.")]


@app.command("create")
def create_jail(
    context: typer.Context,
    name: Name,
    engine: Annotated[str | None, typer.Option(help="directory or bubblewrap.")] = None,
    owner: Annotated[
        str | None, typer.Option(metavar="UID:GID", help="Whose tree it is, as the host counts.")
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
        output.say(f"jail '{name}' is at '{made.root}'")


@app.command("list")
def list_jails(context: typer.Context, json: Json = False) -> None:
    """List the jails of every engine.

    Example: colibri jail list
    """
    infos = session(context).services.jails.list()
    if json:
        output.listing("jail-list", (_body(info) for info in infos))
        return
    rows = [(info.name, info.engine, info.root) for info in infos]
    output.table(("JAIL", "ENGINE", "ROOT"), rows, empty="no jails")


@app.command("destroy")
def destroy_jail(context: typer.Context, name: Name, json: Json = False) -> None:
    """Destroy a jail without a tenant, and all in it.

    Example: colibri jail destroy acme
    """
    info = session(context).services.jails.destroy(name)
    if json:
        output.document("jail-destroy", {"jail": _body(info)})
    else:
        output.say(f"jail '{name}' is destroyed")


def _body(info: JailInfo) -> dict[str, str]:
    return {"name": info.name, "engine": info.engine, "root": info.root}
