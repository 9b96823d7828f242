"""After a delivery that changed a file: the operator's program is told (architecture, step 9).

What it comes to changes nothing of the delivery: that stands, and is recorded, already. It runs
beside the deliveries to others, when no lock of the tenant's is held: one that hangs delays no one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from threading import Event as Flag
from typing import Final, Self

from vault_svc.domain.audit import Entry, Event
from vault_svc.domain.plan import Outcome
from vault_svc.errors import ColibriError
from vault_svc.faults import internal
from vault_svc.ports.reloader import Change
from vault_svc.services.atonce import Worker, outlast
from vault_svc.services.context import Context

_MOST_AT_ONCE: Final = 32
"""Programs of one process of a run beside one another, where none of them comes to an end."""
_PATIENCE_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class _Told:
    """Outcomes of one batch that somebody is told of, and what came of it by tenant."""

    outcomes: tuple[Outcome, ...]
    answers: dict[str, str] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        return len(self.answers) == len(self.outcomes)


class Telling(AbstractContextManager["Telling"]):
    """Tells of the changes of one run, and keeps their outcomes back until it is known how it went.

    Left early, it ends the programs that run and begins no other.
    """

    def __init__(self, context: Context, *, wanted: bool = True) -> None:
        """Take the ports; with wanted false nobody is told."""
        self._context = context
        self._wanted = wanted and context.reloader.configured
        self._under_way: deque[_Told] = deque()
        self._queue: deque[tuple[_Told, Outcome]] = deque()
        self._workers: list[Worker] = []
        self._progress = Flag()
        self._left = False

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *exc: object) -> None:
        """End what runs."""
        self._left = True
        outlast(self._workers)

    def passed(self, outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
        """Begin to tell of what changed; yield the outcomes of all others, and of those told."""
        # Of what was adopted too: the run that wrote it may not have come so far.
        kept = [each for each in outcomes if self._wanted and each.receipt]
        if kept:
            told = _Told(tuple(kept))
            self._under_way.append(told)
            self._queue.extend((told, each) for each in kept)
            self._have_one_more()
        yield from outcomes if not kept else [each for each in outcomes if not each.receipt]
        while self._under_way and self._under_way[0].is_over:
            yield from self._concluded(self._under_way.popleft())

    def rest(self) -> Iterator[Outcome]:
        """Yield the outcomes that were kept back, when all are told."""
        while self._under_way:
            if self._under_way[0].is_over:
                yield from self._concluded(self._under_way.popleft())
            elif not self._progress.wait(_PATIENCE_SECONDS):
                self._have_one_more()
            self._progress.clear()

    def _have_one_more(self) -> None:
        """Let another thread tell, while there is something left; raise what befell one."""
        for worker in self._workers:
            if worker.failed:
                raise worker.failed
        self._workers = [worker for worker in self._workers if not worker.is_over]
        if self._queue and len(self._workers) < _MOST_AT_ONCE:
            try:
                self._workers.append(Worker(self._tell, "reload"))
            except RuntimeError:  # as many threads as this system allows
                if not self._workers:
                    self._tell()

    def _tell(self) -> None:
        while self._queue and not self._left:
            try:
                told, outcome = self._queue.popleft()
            except IndexError:
                return
            told.answers[outcome.tenant_id] = self._answer(outcome)
            self._progress.set()

    def _answer(self, outcome: Outcome) -> str:
        receipt = outcome.receipt
        assert receipt is not None  # noqa: S101 - nobody is told of others
        change = Change(outcome.tenant_id, outcome.jail, receipt.generation, receipt.path)
        try:
            return self._context.reloader.tell(change, lambda: not self._left)
        except Exception as error:  # noqa: BLE001 - what becomes of it is words, always
            return error.message if isinstance(error, ColibriError) else internal(error).message

    def _concluded(self, told: _Told) -> list[Outcome]:
        entries = [
            Entry(
                Event.RELOAD_FAILED if told.answers[each.tenant_id] else Event.RELOADED,
                each.tenant_id,
                {"generation": each.receipt.generation if each.receipt else 0},
            )
            for each in told.outcomes
        ]
        with suppress(ColibriError):  # the next line that must be written says what is wrong
            self._context.registry.mirror(self._context.audit.append(entries))
        return [_warned(each, told.answers[each.tenant_id]) for each in told.outcomes]


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
