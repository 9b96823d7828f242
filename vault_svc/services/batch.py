"""One batch of deliveries: announced together, written one by one, recorded together.

Decision 12: the intents of a batch are synced once before its first write, receipts and
"delivered" lines once after its last; decision 11 closes the crash window between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

from vault_svc.domain.audit import Entry, Event
from vault_svc.domain.plan import Known, Outcome, Step
from vault_svc.domain.receipt import Intent
from vault_svc.domain.tenant import Tenant
from vault_svc.errors import ColibriError
from vault_svc.ports.delivery import Delivery
from vault_svc.ports.secret_source import Answer
from vault_svc.services import atonce, outdated, standing
from vault_svc.services.context import Context
from vault_svc.services.job import Job, Options, failed, outcome
from vault_svc.services.planning import Planner
from vault_svc.services.recording import Recorder

T = TypeVar("T")
_WORTH_SMALL_ONES: Final = 4


class Batch:
    """Runs one batch; the caller holds every tenant's lock."""

    def __init__(self, context: Context, options: Options) -> None:
        """Take the ports and the run's options."""
        self._context = context
        self._options = options

    def run(
        self,
        work: Sequence[tuple[Known, Answer]],
        *,
        listed: Mapping[str, Tenant],
    ) -> Iterator[Outcome]:
        """Yield one outcome per tenant of work.

        listed holds the rows as they were when the source was asked; a row that changed or was
        delivered since fails with `busy` rather than receive another collection's secrets, or
        older ones.
        """
        with self._context.holding() as held:
            jobs, failures = Planner(self._context, self._options).planned(work, listed, held)
            if not self._options.dry_run:
                self._announce([job for job in jobs if not job.plan.announced])
                writes = [job for job in jobs if job.plan.step is Step.WRITE and not job.error]
                self._place(writes, held.delivery)
                self._settle([job for job in jobs if job.plan.step is Step.ADOPT and not job.error])
                _check_bases([job for job in jobs if not job.error], held.delivery)
        if not self._options.dry_run:
            yield from Recorder(self._context).record(jobs, failures)
        else:
            yield from (outcome(job, None, dry_run=True) for job in jobs)
        yield from (failed(tenant_id, error) for tenant_id, error in failures.items())

    def _announce(self, fresh: Sequence[Job]) -> None:
        """Make the intents durable, in the registry and then in the audit log (rule 4).

        Adopting bytes that nobody announced writes no file, so it needs the line only.
        """
        if not fresh:
            return
        refused = outdated.closed(self._context)
        for job in fresh:
            job.error = job.error or refused.get(job.tenant.tenant_id)
        fresh = [job for job in fresh if not job.error]
        if not fresh:
            return
        at = self._context.clock.now()
        intents = [
            Intent(job.tenant.tenant_id, job.plan.generation, job.plan.digest, job.keys, at)
            for job in fresh
            if job.plan.step is Step.WRITE
        ]
        try:
            if intents:
                self._context.registry.announce(intents)
            self._context.audit.append([_announcement(job) for job in fresh])
        except ColibriError as error:
            for job in fresh:
                job.error = error.for_tenant(job.tenant.tenant_id)

    def _place(self, writes: Sequence[Job], delivery: Delivery) -> None:
        """Write every job's file; one slow disk sync delays no other."""
        at_once = self._context.settings.write_concurrency
        atonce.each(writes, partial(self._place_one, delivery), at_once=at_once)

    def _settle(self, adopted: Sequence[Job]) -> None:
        """A receipt outlives a power cut, so what it says must be on the disk first."""
        for job in adopted:
            try:
                standing.settle(self._context.delivery, job.tenant, job.root, job.path, job.keys)
                if job.root.ino is None:
                    self._context.still_there(job.tenant, job.root)
            except ColibriError as error:
                job.error = error.for_tenant(job.tenant.tenant_id)

    def _place_one(self, delivery: Delivery, job: Job) -> None:
        try:
            job.placed = standing.put(
                delivery, job.tenant, job.root, job.path, job.content, job.known.keys
            )
            if job.root.ino is None:
                self._context.still_there(job.tenant, job.root)
        except ColibriError as error:
            job.error = error.for_tenant(job.tenant.tenant_id)


def in_batches(rows: Sequence[T], size: int, *, one_by_one: bool) -> Iterator[Sequence[T]]:
    """Cut rows into batches of at most size.

    one_by_one: small ones first and last, because the source answers so: little is to be read
    before the first file is written, and little to be written after the last was read.
    """
    least = -(-size // 4) if one_by_one and len(rows) >= _WORTH_SMALL_ONES * size else size
    start, most = 0, least
    while left := len(rows) - start:
        number = min(most, left, max(least, -(-left // 2)))
        yield rows[start : start + number]
        start, most = start + number, min(2 * most, size)


def _check_bases(jobs: Sequence[Job], delivery: Delivery) -> None:
    """Fail what was found or put below a base that leads elsewhere by now."""
    lost = delivery.astray([job.root for job in jobs])
    for job in jobs:
        if job.root.path in lost:
            job.error = lost[job.root.path].for_tenant(job.tenant.tenant_id)


def _announcement(job: Job) -> Entry:
    detail = {
        "generation": job.plan.generation,
        "path": job.tenant.env_path,
        "jail": job.tenant.jail,
        "keys": list(job.keys),
        "digest": job.plan.digest,
        "found": list(job.plan.drift),
    }
    return Entry(Event.WILL_DELIVER, job.tenant.tenant_id, detail)
