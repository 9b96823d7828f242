"""The audit log."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import output
from cli.session import Json, session

app = typer.Typer(help="The audit log: what colibri did.", no_args_is_help=True)


@app.command("tail")
def tail(
    context: typer.Context,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many.")] = 20,
    tenant: Annotated[str, typer.Option(help="Only lines of this tenant.")] = "",
    json: Json = False,
) -> None:
    """Show the newest lines, oldest first.

    Example: colibri audit tail --tenant acme
    """
    found = session(context).services.audit.tail(lines, tenant=tenant)
    if json:
        output.listing("audit-tail", found)
        return
    rows = [
        (
            str(line["seq"]),
            str(line["at"]),
            str(line["event"]),
            str(line["tenant"]) or "-",
            " ".join(f"{key}={_cell(value)}" for key, value in (line["detail"] or {}).items()),
        )
        for line in found
    ]
    output.table(("SEQ", "AT", "EVENT", "TENANT", "DETAIL"), rows, empty="no lines")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ",".join(map(str, value)) or "-"
    if isinstance(value, dict):
        return ",".join(f"{key}:{each}" for key, each in value.items()) or "-"
    return str(value).lower() if isinstance(value, bool) else str(value)


@app.command("renew")
def renew(context: typer.Context, json: Json = False) -> None:
    """Put a broken log aside, whole, and begin a new one.

    The new log's first line says why, and names the old files with their SHA-256. An intact log
    is left alone.

    Example: colibri audit renew
    """
    head, aside = session(context).services.auditing.renew()
    if json:
        output.document("audit-renew", {"aside": aside, "seq": head.seq})
    else:
        output.say(f"a new log begins at line {head.seq}; the broken one is in '{aside}'")


@app.command("verify")
def verify(context: typer.Context, json: Json = False) -> None:
    """Walk the chain: no line was edited, cut, moved, deleted.

    Example: colibri audit verify
    """
    verdict = session(context).services.audit.verify()
    if json:
        body = {
            "intact": verdict.broken_at is None,
            "lines": verdict.lines,
            "segments": verdict.segments,
            "repairs": verdict.repairs,
            "broken_at": verdict.broken_at,
        }
        output.document("audit-verify", body)
    if verdict.broken_at is not None:
        raise output.ReportedError(
            "audit_broken", verdict.broken_at, hint="see the runbook audit-broken.md"
        )
    if not json:
        lines, files = verdict.lines, verdict.segments
        output.say(f"{output.count(lines, 'line')} in {output.count(files, 'segment')}, intact")
