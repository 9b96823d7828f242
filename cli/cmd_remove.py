"""Take away and let back: suspend, resume, revoke, offboard."""

from __future__ import annotations

import typer

from cli import output
from cli.cmd_tenants import Id, tenant_body
from cli.session import Json, session


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for name, command in (
        ("suspend", suspend),
        ("resume", resume),
        ("revoke", revoke),
        ("offboard", offboard),
    ):
        app.command(name)(command)


def suspend(context: typer.Context, tenant: Id, json: Json = False) -> None:
    """Take the file out of the jail until resume.

    Example: colibri suspend acme
    """
    _remove(context, tenant, "suspend", json)


def revoke(context: typer.Context, tenant: Id, json: Json = False) -> None:
    """Take the file out, end access at the source, prove it.

    The tenant is suspended afterwards: resume, then provision, delivers again.

    Example: colibri revoke acme
    """
    _remove(context, tenant, "revoke", json)


def offboard(context: typer.Context, tenant: Id, json: Json = False) -> None:
    """Revoke, then close the row for good.

    The tenant's id is not used again.

    Example: colibri offboard acme
    """
    _remove(context, tenant, "offboard", json)


def resume(context: typer.Context, tenant: Id, json: Json = False) -> None:
    """Let a suspended tenant be provisioned again.

    Delivers nothing itself.

    Example: colibri resume acme
    """
    row = session(context).services.remover.resume(tenant)
    if json:
        output.document("resume", {"tenant": tenant_body(row)})
    else:
        output.say(f"tenant '{tenant}' is {row.status}; colibri provision {tenant} delivers")


def _remove(context: typer.Context, tenant: str, action: str, as_json: bool) -> None:
    from vault_svc.domain.tenant import Action

    removed = session(context).services.remover.remove(tenant, Action(action))
    if as_json:
        body = {
            "tenant": tenant_body(removed.tenant),
            "path": removed.path,
            "found": removed.kind,
            "absent": True,
            "ended": list(removed.ended),
            "changed": removed.changed,
        }
        output.document(action, body)
    else:
        gone = "was gone already" if removed.kind == "missing" else "is gone"
        output.say(f"tenant '{tenant}' is {removed.tenant.status}; '{removed.path}' {gone}")
