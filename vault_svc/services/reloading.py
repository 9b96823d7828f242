"""After a delivery that changed a file: the operator's program is told (architecture, step 9).

What it comes to changes nothing of the delivery: that stands, and is recorded, already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vault_svc.domain.audit import Entry, Event
from vault_svc.domain.plan import Outcome
from vault_svc.errors import ColibriError
from vault_svc.ports.reloader import Change
from vault_svc.services import atonce
from vault_svc.services.context import Context


def told(context: Context, outcomes: Sequence[Outcome], jails: Mapping[str, str]) -> list[Outcome]:
    """Tell of every changed file; return the outcomes, with a warning where that failed.

    jails: by tenant. One program a tenant, beside one another where one takes long.
    """
    changes = [
        Change(each.tenant_id, jails[each.tenant_id], each.receipt.generation, each.receipt.path)
        for each in outcomes
        if each.receipt  # of what was adopted too: the run that wrote it may not have come so far
    ]
    if not changes or not context.reloader.configured:
        return list(outcomes)
    failures: dict[str, str] = {}

    def tell(change: Change) -> None:
        try:
            why = context.reloader.tell(change)
        except ColibriError as error:
            why = error.message
        if why:
            failures[change.tenant_id] = why

    atonce.each(changes, tell, at_once=context.settings.write_concurrency)
    _recorded(context, changes, failures)
    return [_warned(each, failures.get(each.tenant_id, "")) for each in outcomes]


def _recorded(context: Context, changes: Sequence[Change], failures: Mapping[str, str]) -> None:
    entries = [
        Entry(
            Event.RELOAD_FAILED if change.tenant_id in failures else Event.RELOADED,
            change.tenant_id,
            {"generation": change.generation},
        )
        for change in changes
    ]
    try:
        context.registry.mirror(context.audit.append(entries))
    except ColibriError:
        return  # the next line that must be written says what is wrong with the log


def _warned(outcome: Outcome, why: str) -> Outcome:
    if not why:
        return outcome
    words = f"delivered, but the reload command failed: {why}"
    return replace(outcome, warnings=(*outcome.warnings, words))
