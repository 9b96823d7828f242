"""Tenants: init, register, update, list, show."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import output
from cli.bodies import record_body
from cli.session import Json, parse_owner, session
from vault_svc.errors import ColibriError

if TYPE_CHECKING:
    from vault_svc.domain.tenant import Tenant
    from vault_svc.wiring import Services

Id = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for name, command in (
        ("init", init),
        ("register-tenant", register_tenant),
        ("update-tenant", update_tenant),
        ("list-tenants", list_tenants),
        ("show-tenant", show_tenant),
    ):
        app.command(name)(command)


def init(context: typer.Context, json: Json = False) -> None:
    """Make the state directory, its keys and the registry.

    Safe to repeat: what is there stays.

    Example: colibri init
    """
    services = session(context).services
    made = services.initialise()
    if json:
        output.document("init", {"data_dir": services.settings.daemon_data_dir, "made": list(made)})
    elif made:
        output.say(f"ready in {services.settings.daemon_data_dir}; back up its credentials/")
    else:
        output.say(f"{services.settings.daemon_data_dir} is ready already")


def register_tenant(
    context: typer.Context,
    tenant: Id,
    jail: Annotated[
        str | None, typer.Option(help="Jail name; the tenant's id if left out.")
    ] = None,
    jail_root: Annotated[
        str | None, typer.Option(help="Expected root; must equal the engine's answer.")
    ] = None,
    collection: Annotated[
        str | None, typer.Option(help="Collection name or id; the tenant's id if left out.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Where the collection lives: embedded, vault or vaultwarden.")
    ] = None,
    env_path: Annotated[
        str | None,
        typer.Option(help="The file, or the directory, as the jail sees it: /.env, /secrets."),
    ] = None,
    delivery: Annotated[
        str,
        typer.Option(
            help="file: one .env; files: a directory, one file each; tmpfs, tmpfs-files: in memory."
        ),
    ] = "file",
    owner: Annotated[
        str | None, typer.Option(metavar="UID:GID", help="The file's owner, as the jail counts.")
    ] = None,
    tier: Annotated[str, typer.Option(help="standard, scratch or community.")] = "standard",
    profile: Annotated[
        str | None, typer.Option(help="Which .env readers are promised: see the README.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="Whose jail: see colibri doctor.")] = None,
    no_collection: Annotated[
        bool, typer.Option("--no-collection", help="A tenant without secrets, for now.")
    ] = False,
    create_jail: Annotated[
        bool, typer.Option("--create-jail", help="Create the jail as well.")
    ] = False,
    ephemeral: Annotated[
        bool, typer.Option("--ephemeral", help="Its jail is made and destroyed by spawn-agent.")
    ] = False,
    json: Json = False,
) -> None:
    """Register a tenant: its jail, collection and file.

    Example: colibri register-tenant acme --create-jail
    """
    from vault_svc.services.registration import Registration

    asked = Registration(
        tenant,
        jail=jail,
        jail_root=jail_root,
        collection=collection,
        source=source,
        env_path=env_path,
        delivery=delivery,
        owner=parse_owner(owner),
        tier=tier,
        profile=profile,
        engine=engine,
        no_collection=no_collection,
        create_jail=create_jail,
        ephemeral=ephemeral,
    )
    services = session(context).services
    try:
        row = services.registrar.register(asked)
    except ColibriError as error:
        if error.code != "jail_not_found":
            raise
        hint = "--create-jail makes it; colibri jail list shows what there is"
        raise ColibriError(error.code, error.message, hint=hint, tenant=tenant) from None
    if not services.isolates(row.engine):
        output.say(f"warning: engine '{row.engine}' is a plain tree, it isolates nothing")
    _warn_unshown(services, row)
    _show("register-tenant", row, json, f"tenant '{row.tenant_id}' is registered")


def update_tenant(
    context: typer.Context,
    tenant: Id,
    jail: Annotated[str | None, typer.Option(help="The jail it has moved to.")] = None,
    jail_root: Annotated[str | None, typer.Option(help="Expected root of that jail.")] = None,
    collection: Annotated[str | None, typer.Option(help="Another collection.")] = None,
    env_path: Annotated[str | None, typer.Option(help="Another path in the jail.")] = None,
    delivery: Annotated[str | None, typer.Option(help="file, files, tmpfs or tmpfs-files.")] = None,
    owner: Annotated[str | None, typer.Option(metavar="UID:GID", help="Another owner.")] = None,
    profile: Annotated[str | None, typer.Option(help="Another profile.")] = None,
    no_collection: Annotated[
        bool, typer.Option("--no-collection", help="A tenant without secrets again.")
    ] = False,
    ephemeral: Annotated[
        bool, typer.Option("--ephemeral", help="From now on spawn-agent makes its jail.")
    ] = False,
    json: Json = False,
) -> None:
    """Change a tenant's row; provision delivers the change.

    A delivered file whose place changes is removed first.

    Example: colibri update-tenant acme --profile shell
    """
    from vault_svc.services.tenants import Changes

    changes = Changes(
        jail=jail,
        jail_root=jail_root,
        collection=collection,
        env_path=env_path,
        delivery=delivery,
        owner=parse_owner(owner),
        profile=profile,
        no_collection=no_collection,
        ephemeral=ephemeral,
    )
    services = session(context).services
    before = services.reader.tenant(tenant)
    row = services.tenants.update(tenant, changes)
    _warn_unshown(services, row)
    said = _changed(before, row, services)
    _show("update-tenant", row, json, f"the row of tenant '{tenant}' {said}")


def _warn_unshown(services: Services, row: Tenant) -> None:
    if found := services.tenants.unshown(row):
        output.say(f"warning: {found.message} ({found.hint})")


def _changed(before: Tenant, row: Tenant, services: Services) -> str:
    if before == row:
        return "was like that already"
    if row.status == "suspended":
        return f"is changed; it is suspended: colibri resume {row.tenant_id} comes first"
    if not row.collection_id:
        return "is changed"
    if services.tenants.awaits_agent(row):
        return "is changed; colibri spawn-agent delivers it"
    return f"is changed; colibri provision {row.tenant_id} delivers it"


def list_tenants(
    context: typer.Context,
    status: Annotated[
        str | None, typer.Option(help="registered, active, suspended or offboarded.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Rows at the most; 0 for all.")] = 200,
    after: Annotated[str, typer.Option(help="Begin after this tenant id.")] = "",
    json: Json = False,
) -> None:
    """List tenants by id.

    Example: colibri list-tenants --status active --limit 50
    """
    with output.uncollected():
        rows = session(context).services.reader.tenants(
            status=_status(status), after=after, limit=limit + 1 if limit else None
        )
        more = bool(limit) and len(rows) > limit
        rows = rows[:limit] if limit else rows
        following = rows[-1].tenant_id if more else None
        if json:
            output.listing("list-tenants", (tenant_body(row) for row in rows), following)
            return
        columns = ("TENANT", "STATUS", "GEN", "JAIL", "ENGINE", "COLLECTION", "PATH", "LAST ERROR")
        output.table(columns, [_line(row) for row in rows], empty="no tenants")
    if following:
        output.say(f"there are more: --after {following}")


def show_tenant(context: typer.Context, tenant: Id, json: Json = False) -> None:
    """Show a tenant's row and its newest records.

    Example: colibri show-tenant acme --json
    """
    reader = session(context).services.reader
    row, history = reader.tenant(tenant), reader.history(tenant, 10)
    if json:
        records = [record_body(record) for record in history]
        output.document("show-tenant", {"tenant": tenant_body(row), "records": records})
        return
    output.table(("FIELD", "VALUE"), [(k, _cell(v)) for k, v in tenant_body(row).items()], empty="")
    output.gap()
    rows = [
        (b["kind"], str(b["generation"]), b["path"], b["at"], b.get("digest") or "-")
        for b in (record_body(record) for record in history)
    ]
    output.table(("RECORD", "GEN", "PATH", "AT", "DIGEST"), rows, empty="nothing delivered yet")


def tenant_body(row: Tenant) -> dict[str, Any]:
    """Return a row as the JSON contract has it."""
    names, values = _columns()
    return dict(zip(names, values(row), strict=True))


@cache
def _columns() -> tuple[tuple[str, ...], attrgetter[tuple[Any, ...]]]:
    from vault_svc.domain.tenant import Tenant

    names = tuple(field.name for field in fields(Tenant) if field.name != "root_ino")
    return names, attrgetter(*names)


def _status(text: str | None) -> Any:
    from vault_svc.domain.tenant import Status

    if text is None:
        return None
    try:
        return Status(text)
    except ValueError:
        known = ", ".join(Status)
        raise ColibriError(
            "usage", f"there is no status '{text[:40]}'", hint=f"one of: {known}"
        ) from None


def _line(row: Tenant) -> tuple[str, ...]:
    return (
        row.tenant_id,
        str(row.status),
        str(row.generation),
        row.jail,
        row.engine,
        row.collection or "-",
        row.env_path,
        (row.last_error or "-").partition(":")[0],
    )


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(value) or "-"
    return "-" if value in (None, "") else str(value)


def _show(command: str, row: Tenant, as_json: bool, done: str) -> None:
    if as_json:
        output.document(command, {"tenant": tenant_body(row)})
    else:
        output.say(done)
