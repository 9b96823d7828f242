"""Dynamic secrets: variables from leased paths, and the pass that keeps them alive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import output
from cli.cmd_provision import SomeId
from cli.cmd_tenants import Id
from cli.session import Json, session

if TYPE_CHECKING:
    from vault_svc.domain.lease import LeasedVariable
    from vault_svc.services.leases import Leased
    from vault_svc.services.renewal import Renewal

app = typer.Typer(help="Variables that a server leases, such as database logins.")


def register(main: typer.Typer) -> None:
    """Add the commands to the application."""
    main.add_typer(app, name="lease", no_args_is_help=True)
    main.command("renew")(renew)


@app.command("add")
def add(
    context: typer.Context,
    tenant: Id,
    mappings: Annotated[
        list[str], typer.Argument(metavar="VAR=PATH#FIELD...", help="Variable, path and field.")
    ],
    param: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="NAME=VALUE", help="Sent with the request; never secret."),
    ] = None,
    json: Json = False,
) -> None:
    """Map variables of a tenant to a leased path.

    Variables of one path share one lease; provision asks for it.

    Example: colibri lease add acme DB_USER=database/creds/app#username
    """
    added = session(context).services.leases.add(tenant, mappings, param or [])
    if json:
        output.document("lease-add", {"tenant_id": tenant, "added": [_mapping(m) for m in added]})
    elif added:
        what = output.count(len(added), "variable")
        output.say(f"{what} of tenant '{tenant}' mapped; colibri provision {tenant} delivers")
    else:
        output.say("mapped so already")


@app.command("remove")
def remove(
    context: typer.Context,
    tenant: Id,
    variables: Annotated[list[str], typer.Argument(metavar="VAR...", help="Their names.")],
    json: Json = False,
) -> None:
    """Take variables away from a tenant's mapping.

    The next provision or renew takes them out of the file and ends the lease.

    Example: colibri lease remove acme DB_USER
    """
    gone = session(context).services.leases.remove(tenant, variables)
    if json:
        output.document("lease-remove", {"tenant_id": tenant, "removed": list(gone)})
    else:
        what = output.count(len(gone), "variable")
        output.say(f"{what} not mapped any more; colibri provision {tenant} takes the value out")


@app.command("list")
def list_leases(context: typer.Context, tenant: SomeId = None, json: Json = False) -> None:
    """List mappings and how long their leases last.

    Example: colibri lease list acme
    """
    found = session(context).services.leases.listed(tenant)
    if json:
        output.listing("lease-list", (_leased(each) for each in found))
        return
    rows = [
        (
            each.variable.tenant_id,
            each.variable.variable,
            f"{each.variable.path}#{each.variable.field}",
            each.lease.expires_at if each.lease else "no lease",
            each.lease.due_at if each.lease else "-",
        )
        for each in found
    ]
    output.table(("TENANT", "VARIABLE", "PATH", "EXPIRES", "DUE"), rows, empty="nothing is leased")


def renew(
    context: typer.Context,
    once: Annotated[
        bool, typer.Option("--once", help="One pass, which is all it makes in any case.")
    ] = False,
    json: Json = False,
) -> None:
    """Renew this host's leases, one pass.

    A lease is renewed when two thirds of its life are over. One that the server ended is
    replaced and delivered, or its value is taken out of the jail.

    Example: colibri renew --once
    """
    del once
    outcomes = sorted(session(context).services.renewer.everyone(), key=lambda o: o.tenant_id)
    for outcome in outcomes:
        for warning in outcome.warnings:
            output.say(f"warning: tenant '{outcome.tenant_id}': {warning}")
    if json:
        output.listing("renew", (_renewal(outcome) for outcome in outcomes))
    else:
        rows = [
            (o.tenant_id, o.result, o.next_due_at or "-", " ".join(o.variables) or "-", _why(o))
            for o in outcomes
        ]
        columns = ("TENANT", "RESULT", "NEXT DUE", "VARIABLES", "WHY")
        output.table(columns, rows, empty="nothing is leased")
    failures = sum(outcome.error is not None for outcome in outcomes)
    if failures:
        count = output.count(len(outcomes), "tenant")
        raise output.ReportedError(
            "partial",
            f"{failures} of {count} with leases could not be served",
            hint="the list says who and why; see the runbook dynamic-secrets.md",
        )


def _why(outcome: Renewal) -> str:
    return outcome.error.line() if outcome.error else "-"


def _mapping(mapped: LeasedVariable) -> dict[str, Any]:
    return {
        "variable": mapped.variable,
        "path": mapped.path,
        "field": mapped.field,
        "params": [{"name": name, "value": value} for name, value in mapped.params],
    }


def _leased(each: Leased) -> dict[str, Any]:
    lease = each.lease
    return {
        "tenant_id": each.variable.tenant_id,
        **_mapping(each.variable),
        "issued_at": lease.issued_at if lease else None,
        "due_at": lease.due_at if lease else None,
        "expires_at": lease.expires_at if lease else None,
        "renewable": lease.renewable if lease else None,
    }


def _renewal(outcome: Renewal) -> dict[str, Any]:
    return {
        "tenant_id": outcome.tenant_id,
        "result": outcome.result,
        "renewed": outcome.renewed,
        "variables": list(outcome.variables),
        "warnings": list(outcome.warnings),
        "next_due_at": outcome.next_due_at,
        "error": output.error_body(outcome.error) if outcome.error else None,
    }
