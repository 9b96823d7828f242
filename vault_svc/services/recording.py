"""The recording of a batch: its lines in the audit log, then its receipts in the registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from vault_svc.domain import delivered
from vault_svc.domain.audit import Entry, Event, Head
from vault_svc.domain.plan import Outcome, Step
from vault_svc.domain.receipt import Found, Receipt
from vault_svc.errors import ColibriError
from vault_svc.services import standing
from vault_svc.services.context import Context
from vault_svc.services.job import Job, outcome


class Recorder:
    """Records jobs that are done, as they ended."""

    def __init__(self, context: Context) -> None:
        """Take the ports."""
        self._context = context

    def record(
        self, jobs: Sequence[Job], failures: Mapping[str, ColibriError]
    ) -> Iterator[Outcome]:
        """Log what was done, then store it: a crash between the two is repaired, not forgotten.

        The receipt closes the intent. Were it stored first, a crash would leave nothing to do
        for the next run, and no line that says "delivered".
        """
        receipts = self._receipts(jobs)
        dropped = [job.tenant.tenant_id for job in jobs if self._placed_nothing(job)]
        head = self._report(jobs, receipts, failures)
        errors = dict(failures) | {j.tenant.tenant_id: j.error for j in jobs if j.error}
        receipts = {t: receipt for t, receipt in receipts.items() if t not in errors}
        healed = [j.tenant.tenant_id for j in jobs if not j.error and j.tenant.last_error]
        if receipts or errors or healed:
            lines = {t: error.line() for t, error in errors.items()}
            try:
                self._context.registry.commit(
                    list(receipts.values()),
                    dict.fromkeys(healed, "") | lines,
                    dropped=dropped,
                    head=head,
                )
            except ColibriError as error:  # this batch fails, its intents stay; others go on
                for job in jobs:
                    if job.tenant.tenant_id in receipts:
                        job.error = error.for_tenant(job.tenant.tenant_id)
        yield from (outcome(job, receipts.get(job.tenant.tenant_id)) for job in jobs)

    def _report(
        self,
        jobs: Sequence[Job],
        receipts: Mapping[str, Receipt],
        failures: Mapping[str, ColibriError],
    ) -> Head | None:
        """Append the batch's lines; what could not be logged fails, its intents stay open."""
        entries = _entries(jobs, receipts, failures)
        if not entries:
            return None
        try:
            return self._context.audit.append(entries)
        except ColibriError as error:
            for job in jobs:
                if job.tenant.tenant_id in receipts:
                    job.error = error.for_tenant(job.tenant.tenant_id)
            return None

    def _placed_nothing(self, job: Job) -> bool:
        """Say whether a write failed, and for certain before a file had its name.

        Not while an older intent is open: what a crashed run placed is still to be accounted for.
        """
        if not job.error or job.plan.step is not Step.WRITE or job.known.intents:
            return False
        if job.error.code in {"tampered", "internal", "busy"}:
            return False
        return job.found is None or job.found.files is None or self._is_as_it_was(job, job.found)

    def _is_as_it_was(self, job: Job, before: Found) -> bool:
        """Look again: a set that failed at one file may have placed others."""
        limit, keys = self._context.settings.max_env_bytes, job.known.keys | set(job.keys)
        try:
            now = standing.look(
                self._context.delivery,
                job.tenant,
                job.root,
                job.tenant.env_path,
                keys,
                max_bytes=limit,
            )
        except ColibriError:
            return False
        return _identities(now) == _identities(before)

    def _receipts(self, jobs: Sequence[Job]) -> dict[str, Receipt]:
        return {
            job.tenant.tenant_id: self._receipt(job)
            for job in jobs
            if not job.error and job.plan.step is not Step.NOTHING
        }

    def _receipt(self, job: Job) -> Receipt:
        elapsed = self._context.clock.monotonic() - job.started
        return Receipt(
            tenant_id=job.tenant.tenant_id,
            generation=job.plan.generation,
            path=job.tenant.env_path,
            keys=job.keys,
            digest=job.plan.digest,
            mode=delivered.MODES[job.tenant.delivery],
            uid=job.tenant.owner_uid,
            gid=job.tenant.owner_gid,
            size=delivered.size(job.tenant, job.content),
            changed=job.plan.step is Step.WRITE,
            at=self._context.clock.now(),
            source_revision=job.revision,
            elapsed_ms=round(elapsed * 1000, 3),
            parts=standing.parts(self._context.keys, job.tenant, job.content),
        )


def _entries(
    jobs: Sequence[Job],
    receipts: Mapping[str, Receipt],
    failures: Mapping[str, ColibriError],
) -> list[Entry]:
    entries: list[Entry] = []
    for job in jobs:
        tenant_id = job.tenant.tenant_id
        if receipt := receipts.get(tenant_id):
            event = Event.DELIVERED if receipt.changed else Event.ADOPTED
            detail = {"generation": receipt.generation, "digest": receipt.digest}
            entries.append(Entry(event, tenant_id, detail))
        if job.placed and job.placed.displaced not in {"missing", "file", "directory"}:
            entries.append(Entry(Event.DISPLACED, tenant_id, {"kind": job.placed.displaced}))
    errors = dict(failures) | {j.tenant.tenant_id: j.error for j in jobs if j.error}
    entries += [
        Entry(Event.DELIVERY_FAILED, tenant_id, {"code": error.code})
        for tenant_id, error in errors.items()
        if error
    ]
    return entries


def _identities(found: Found) -> dict[str, tuple[int, int, int]]:
    return {n: (f.dev, f.ino, f.mtime_ns) for n, f in (found.files or {}).items()}
