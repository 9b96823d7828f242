"""Deliver and compare: provision, verify."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import output
from cli.bodies import outcome_body
from cli.session import Json, session
from vault_svc.errors import ColibriError

if TYPE_CHECKING:
    from vault_svc.domain.plan import Outcome
    from vault_svc.ports.registry import TenantReader
    from vault_svc.services.verify import Finding

_REDRAW_SECONDS = 0.1
SomeId = Annotated[str | None, typer.Argument(metavar="TENANT", help="The tenant's id.")]
Everyone = Annotated[bool, typer.Option("--all", help="Every tenant of this host.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for name, command in (("provision", provision), ("verify", verify)):
        app.command(name)(command)


def provision(
    context: typer.Context,
    tenant: SomeId = None,
    everyone: Everyone = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend only files that drifted; leave the others.")
    ] = False,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Deliver an empty collection as an empty file.")
    ] = False,
    json: Json = False,
) -> None:
    """Deliver a tenant's collection into its jail.

    Unchanged input changes nothing: no byte, no time, no generation.

    Example: colibri provision acme
    """
    from vault_svc.services.job import Options

    _one_or_all(tenant, everyone)
    provisioner = session(context).services.provisioner
    options = Options(dry_run=dry_run, repair=repair, allow_empty=allow_empty)
    if tenant is not None:
        outcome = provisioner.one(tenant, options)
        _say_left_out([outcome], verbose=session(context).verbose)
        _report_one(outcome, json)
        return
    outcomes: list[Outcome] = []
    late: ColibriError | None = None
    with _progress(provisioner.count()) as advance:
        try:
            outcomes.extend(advance(outcome) for outcome in provisioner.everyone(options))
        except ColibriError as error:  # what came before it was done, and is still told
            late = error
    if late and not outcomes:
        raise late
    _say_left_out(outcomes, verbose=session(context).verbose)
    _report_all(outcomes, json, late)


def verify(
    context: typer.Context, tenant: SomeId = None, everyone: Everyone = False, json: Json = False
) -> None:
    """Compare a tenant's jail with its newest receipt.

    Prints what differs, never a value; asks no source.

    Example: colibri verify --all
    """
    _one_or_all(tenant, everyone)
    services = session(context).services
    verifier = services.verifier
    findings = list(verifier.everyone()) if tenant is None else [verifier.one(tenant)]
    if json:
        output.listing("verify", (_finding_body(finding) for finding in findings))
    else:
        closed = _closed(services.reader, tenant)
        rows = [
            (f.tenant_id, f.state, str(f.generation), _why(_what(f, closed), f.error))
            for f in findings
        ]
        output.table(("TENANT", "STATE", "GEN", "WHAT"), rows, empty="no tenants")
    _verdict(findings, single=tenant is not None)


def _one_or_all(tenant: str | None, everyone: bool) -> None:
    if (tenant is None) != everyone:
        raise ColibriError("usage", "name one tenant or say --all", hint="colibri list-tenants")


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    if not sys.stderr.isatty() or not total:
        yield lambda outcome: outcome
        return
    from rich.console import Console
    from rich.progress import Progress

    # No thread that draws: the run may fork.
    with Progress(console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        task, drawn = bar.add_task("provisioning", total=total), 0.0

        def advance(outcome: Outcome) -> Outcome:
            nonlocal drawn
            bar.advance(task)
            if time.monotonic() > drawn + _REDRAW_SECONDS:
                bar.refresh()
                drawn = time.monotonic()
            return outcome

        yield advance


def _say_left_out(outcomes: Sequence[Outcome], *, verbose: bool) -> None:
    """Count what the source holds that is no variable; name each of it where that is asked for."""
    for outcome in outcomes if verbose else ():
        for words in outcome.left_out:
            output.say(f"tenant '{outcome.tenant_id}': left out {words}")
    count = sum(len(outcome.left_out) for outcome in outcomes)
    if count and not verbose:
        output.say(f"left out, being no variables: {count}; colibri --verbose provision names them")


def _report_one(outcome: Outcome, as_json: bool) -> None:
    if as_json:
        output.document("provision", outcome_body(outcome))
        return
    for warning in outcome.warnings:
        output.say(f"warning: {warning}")
    receipt = outcome.receipt
    detail = f": {', '.join(outcome.drift)}" if outcome.drift and not receipt else ""
    if receipt:
        detail = f", generation {receipt.generation}, {output.count(len(receipt.keys), 'key')}"
    output.say(f"tenant '{outcome.tenant_id}': {outcome.result}{detail}")


def _report_all(outcomes: list[Outcome], as_json: bool, late: ColibriError | None) -> None:
    outcomes.sort(key=lambda outcome: outcome.tenant_id)
    if as_json:
        output.listing("provision-all", (outcome_body(outcome) for outcome in outcomes))
    else:
        shown = [o for o in outcomes if o.result not in {"unchanged", "suspended"}]
        rows = [
            (o.tenant_id, o.result, str(o.receipt.generation) if o.receipt else "-", _reason(o))
            for o in shown
        ]
        output.table(("TENANT", "RESULT", "GEN", "WHY"), rows, empty="nothing to do")
        for outcome in outcomes:
            for warning in outcome.warnings:
                output.say(f"warning: tenant '{outcome.tenant_id}': {warning}")
        output.say(_summary(outcome.result for outcome in outcomes))
    if late:
        raise output.ReportedError(late.code, late.message, hint=late.hint, tenant=late.tenant)
    failures = sum(outcome.result == "failed" for outcome in outcomes)
    if failures:
        of = output.count(len(outcomes), "tenant")
        raise _partial(f"{failures} of {of} failed; where there was a file, it stays")


def _closed(reader: TenantReader, tenant: str | None) -> dict[str, str]:
    """Return the statuses of tenants whose jail must hold no file."""
    from vault_svc.domain.tenant import Status

    rows = reader.tenants(status=Status.SUSPENDED) if tenant is None else [reader.tenant(tenant)]
    closed = (Status.SUSPENDED, Status.OFFBOARDED)
    return {row.tenant_id: str(row.status) for row in rows if row.status in closed}


def _what(finding: Finding, closed: dict[str, str]) -> str:
    if finding.state == "ok" and finding.tenant_id in closed:
        return f"{closed[finding.tenant_id]}: no file is there"
    return ", ".join(finding.drift)


def _verdict(findings: list[Finding], *, single: bool) -> None:
    broken = [finding for finding in findings if finding.state in {"drift", "failed"}]
    if not broken:
        return
    first = broken[0]
    if first.error and single:
        raise first.error
    if any(finding.state == "failed" for finding in broken):
        raise _partial(
            f"{len(broken)} of {output.count(len(findings), 'tenant')} drifted or could not be seen"
        )
    which = f"tenant '{first.tenant_id}'" if single else output.count(len(broken), "tenant")
    words = f": {', '.join(first.drift)}" if single else ""
    target = first.tenant_id if single else "--all"
    hint = f"colibri provision {target} --repair"
    if "directory: mode" in first.drift:
        hint = f"look who opened the directory to others, close it to them, then {hint}"
    raise output.ReportedError("drift", f"{which} drifted{words}", hint=hint)


def _partial(message: str) -> ColibriError:
    return output.ReportedError("partial", message, hint="the list says who and why")


def _summary(results: Iterable[str]) -> str:
    counts: dict[str, int] = {}
    for result in results:
        counts[result] = counts.get(result, 0) + 1
    return ", ".join(f"{count} {result}" for result, count in sorted(counts.items())) or "nobody"


def _reason(outcome: Outcome) -> str:
    return _why(", ".join(outcome.drift), outcome.error)


def _why(words: str, error: ColibriError | None) -> str:
    return error.line() if error else words or "-"


def _finding_body(finding: Finding) -> dict[str, Any]:
    return {
        "tenant_id": finding.tenant_id,
        "state": finding.state,
        "drift": list(finding.drift),
        "generation": finding.generation,
        "error": output.error_body(finding.error) if finding.error else None,
    }
