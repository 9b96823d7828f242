"""After a delivery that changed a file: the operator's program is told (architecture, step 9).

What it comes to changes nothing of the delivery: that stands, and is recorded, already. It runs
beside the deliveries to others, when no lock of the tenant's is held: one that hangs delays no one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Self

from vault_svc.domain.audit import Entry, Event
from vault_svc.domain.plan import Outcome
from vault_svc.errors import ColibriError
from vault_svc.faults import internal
from vault_svc.ports.reloader import Change
from vault_svc.services import atonce
from vault_svc.services.context import Context

_MOST_AT_ONCE: Final = 64
"""Programs beside one another, where none of them comes to an end."""


@dataclass(frozen=True, slots=True)
class _Told:
    outcomes: tuple[Outcome, ...]
    changes: tuple[Change, ...]
    failures: dict[str, str] = field(default_factory=dict)


class Telling(AbstractContextManager["Telling"]):
    """Tells of the changes of one run, and keeps their outcomes back until it is known how it went.

    Left early, it ends the programs that run and begins no other.
    """

    def __init__(self, context: Context, *, wanted: bool = True) -> None:
        """Take the ports; with wanted false nobody is told."""
        self._context = context
        self._wanted = wanted and context.reloader.configured
        self._under_way: list[tuple[atonce.Worker | None, _Told]] = []
        self._left = False

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *exc: object) -> None:
        """End what runs."""
        self._left = True
        atonce.outlast([worker for worker, _ in self._under_way if worker])

    def passed(self, outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
        """Begin to tell of what changed; yield the outcomes of all others, and of those told."""
        # Of what was adopted too: the run that wrote it may not have come so far.
        kept = [each for each in outcomes if self._wanted and each.receipt]
        if kept:
            self._begin(_Told(tuple(kept), tuple(self._changes(kept))))
        yield from outcomes if not kept else [each for each in outcomes if not each.receipt]
        while self._under_way and (not (worker := self._under_way[0][0]) or worker.is_over):
            yield from self._concluded(*self._under_way.pop(0))

    def rest(self) -> Iterator[Outcome]:
        """Yield the outcomes that were kept back, when all are told."""
        while self._under_way:
            if worker := self._under_way[0][0]:
                worker.wait()
            yield from self._concluded(*self._under_way.pop(0))

    def _changes(self, changed: Iterable[Outcome]) -> Iterator[Change]:
        rows = self._context.registry.rows([each.tenant_id for each in changed])
        for each in changed:
            if each.receipt and each.tenant_id in rows:
                jail, receipt = rows[each.tenant_id].jail, each.receipt
                yield Change(each.tenant_id, jail, receipt.generation, receipt.path)

    def _begin(self, told: _Told) -> None:
        try:
            self._under_way.append((atonce.Worker(partial(self._tell, told), "reload"), told))
        except RuntimeError:  # as many threads as this system allows
            self._tell(told)
            self._under_way.append((None, told))

    def _tell(self, told: _Told) -> None:
        def tell(change: Change) -> None:
            if self._left:
                return
            try:
                why = self._context.reloader.tell(change, lambda: not self._left)
            except Exception as error:  # noqa: BLE001 - what becomes of it is words, always
                why = error.message if isinstance(error, ColibriError) else internal(error).message
            if why:
                told.failures[change.tenant_id] = why

        atonce.each(told.changes, tell, at_once=_MOST_AT_ONCE)

    def _concluded(self, worker: atonce.Worker | None, told: _Told) -> list[Outcome]:
        if worker and worker.failed:
            raise worker.failed
        entries = [
            Entry(
                Event.RELOAD_FAILED if change.tenant_id in told.failures else Event.RELOADED,
                change.tenant_id,
                {"generation": change.generation},
            )
            for change in told.changes
        ]
        with suppress(ColibriError):  # the next line that must be written says what is wrong
            self._context.registry.mirror(self._context.audit.append(entries))
        return [_warned(each, told.failures.get(each.tenant_id, "")) for each in told.outcomes]


def told(context: Context, outcome: Outcome) -> Outcome:
    """Tell of one tenant's change; return the outcome, with a warning where that failed."""
    with Telling(context) as telling:
        (after,) = [*telling.passed([outcome]), *telling.rest()]
    return after


def _warned(outcome: Outcome, why: str) -> Outcome:
    if not why:
        return outcome
    words = f"delivered, but the reload command failed: {why}"
    return replace(outcome, warnings=(*outcome.warnings, words))
