"""One batch of deliveries: announced together, written one by one, recorded together.

Decision 12: the intents of a batch are synced once before its first write, receipts and
"delivered" lines once after its last; decision 11 closes the crash window between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from vault_svc.domain import delivered
from vault_svc.domain.audit import Entry, Event, Head
from vault_svc.domain.plan import Known, Outcome, Plan, Step, decide
from vault_svc.domain.receipt import Found, Intent, Placed, Receipt
from vault_svc.domain.secret import SecretSet, Unchanged
from vault_svc.domain.tenant import Action, Tenant, next_status
from vault_svc.errors import ColibriError
from vault_svc.ports.delivery import Delivery, JailRoot
from vault_svc.ports.secret_source import Answer
from vault_svc.services import atonce, outdated, standing
from vault_svc.services.agreement import delivered_revision
from vault_svc.services.context import Context


@dataclass(frozen=True, slots=True)
class Options:
    """How a run behaves: dry_run changes nothing, repair touches only what drifted.

    reload: tell the operator's program of what changed; not before an agent is started.
    """

    dry_run: bool = False
    repair: bool = False
    allow_empty: bool = False
    reload: bool = True


@dataclass(slots=True)
class _Job:
    """A tenant on its way through the batch."""

    known: Known
    root: JailRoot
    path: tuple[str, ...]
    content: bytes = field(repr=False)
    plan: Plan
    revision: str
    keys: tuple[str, ...]
    started: float
    warnings: tuple[str, ...]
    left_out: tuple[str, ...]
    found: Found | None = None
    placed: Placed | None = None
    error: ColibriError | None = None

    @property
    def tenant(self) -> Tenant:
        return self.known.tenant


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
            jobs, failures = self._planned(work, listed, held)
            if not self._options.dry_run:
                self._announce([job for job in jobs if not job.plan.announced])
                writes = [job for job in jobs if job.plan.step is Step.WRITE and not job.error]
                self._place(writes, held.delivery)
                self._settle([job for job in jobs if job.plan.step is Step.ADOPT and not job.error])
                _check_bases([job for job in jobs if not job.error], held.delivery)
        if not self._options.dry_run:
            yield from self._record(jobs, failures)
        else:
            yield from (self._outcome(job, None) for job in jobs)
        yield from (failed(tenant_id, error) for tenant_id, error in failures.items())

    def _planned(
        self,
        work: Sequence[tuple[Known, Answer]],
        listed: Mapping[str, Tenant],
        held: Context,
    ) -> tuple[list[_Job], dict[str, ColibriError]]:
        jobs: list[_Job] = []
        failures: dict[str, ColibriError] = {}
        for known, resolved in work:
            tenant = known.tenant
            try:
                jobs.append(self._plan(known, resolved, listed[tenant.tenant_id], held))
            except ColibriError as error:
                failures[tenant.tenant_id] = error.for_tenant(tenant.tenant_id)
        return jobs, failures

    def _plan(self, known: Known, resolved: Answer, listed: Tenant, held: Context) -> _Job:
        started, tenant = self._context.clock.monotonic(), known.tenant
        next_status(tenant, Action.PROVISION)
        if _asked_for(tenant) != _asked_for(listed):
            raise ColibriError("busy", "the row was changed meanwhile", hint="run it again")
        if isinstance(resolved, ColibriError):
            raise resolved
        if isinstance(resolved, Unchanged):
            return self._untouched(known, resolved, started, held)
        content = self._render(tenant, resolved)
        if not self._options.dry_run:
            held.have_memory(tenant)
        root, path = held.shown_root(tenant), delivered.parts(tenant.delivery, tenant.env_path)
        limit = self._context.settings.max_env_bytes
        keys = known.keys | set(resolved.names())
        found = standing.look(held.delivery, tenant, root, tenant.env_path, keys, max_bytes=limit)
        if not self._options.dry_run:  # not before: the look proves the root
            known = self._located(known, root)
        digest = self._context.keys.digest(tenant.tenant_id, content)
        plan = decide(known, found, content, digest, recorded=self._recorded(known, content))
        return _Job(
            known,
            root,
            path,
            content,
            plan,
            resolved.revision,
            resolved.names(),
            started,
            delivered.warnings(tenant, resolved),
            resolved.left_out,
            found,
        )

    def _untouched(self, known: Known, resolved: Unchanged, started: float, held: Context) -> _Job:
        """Look once more, under the lock: the file may have changed since the source was asked."""
        tenant, newest = known.tenant, known.newest
        revision = delivered_revision(self._context, tenant, newest, known.intents)
        if not isinstance(newest, Receipt) or revision != resolved.revision:
            raise ColibriError("busy", "the file was changed meanwhile", hint="run it again")
        root, path = held.shown_root(tenant), delivered.parts(tenant.delivery, tenant.env_path)
        plan = Plan(Step.NOTHING, tenant.generation, newest.digest, (), announced=True)
        return _Job(known, root, path, b"", plan, revision, newest.keys, started, (), ())

    def _located(self, known: Known, root: JailRoot) -> Known:
        """Record where an unstable root is before anything is written there (decision 7)."""
        if root.mount or known.tenant.jail_root == root.path:
            return known
        row = replace(known.tenant, jail_root=root.path)
        self._context.registry.update(row, expected=known.tenant)
        return replace(known, tenant=row)

    def _recorded(self, known: Known, content: bytes) -> bool:
        """Compare with the newest receipt under the key it was made with."""
        newest, tenant = known.newest, known.tenant
        if not isinstance(newest, Receipt) or newest.path != tenant.env_path:
            return False
        key_id = newest.digest.partition(":")[0]
        try:
            digest = self._context.keys.digest(tenant.tenant_id, content, key_id=key_id)
        except ColibriError as error:
            if error.code != "credential_missing":
                raise
            return False  # a lost host key: what it vouched for is taken over as found
        return newest.digest == digest

    def _render(self, tenant: Tenant, resolved: SecretSet) -> bytes:
        may_be_empty = self._options.allow_empty or tenant.collection_id is None
        if not resolved.values and not may_be_empty:
            raise ColibriError(
                "collection_empty",
                f"collection '{tenant.collection}' of tenant '{tenant.tenant_id}' is empty",
                hint="put a secret in, or deliver the empty file with --allow-empty",
            )
        settings = self._context.settings
        content = delivered.render(tenant, resolved, settings.allowed_variables)
        if len(content) > settings.max_env_bytes:
            raise ColibriError(
                "secret_value_unrepresentable",
                f"the file of tenant '{tenant.tenant_id}' would have {len(content)} bytes,"
                f" the limit is {settings.max_env_bytes}",
                hint="split the collection, or raise the setting max_env_bytes",
            )
        return content

    def _announce(self, fresh: Sequence[_Job]) -> None:
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

    def _place(self, writes: Sequence[_Job], delivery: Delivery) -> None:
        """Write every job's file; one slow disk sync delays no other."""
        at_once = self._context.settings.write_concurrency
        atonce.each(writes, partial(self._place_one, delivery), at_once=at_once)

    def _settle(self, adopted: Sequence[_Job]) -> None:
        """A receipt outlives a power cut, so what it says must be on the disk first."""
        for job in adopted:
            try:
                standing.settle(self._context.delivery, job.tenant, job.root, job.path, job.keys)
                if job.root.ino is None:
                    self._context.still_there(job.tenant, job.root)
            except ColibriError as error:
                job.error = error.for_tenant(job.tenant.tenant_id)

    def _place_one(self, delivery: Delivery, job: _Job) -> None:
        try:
            job.placed = standing.put(
                delivery, job.tenant, job.root, job.path, job.content, job.known.keys
            )
            if job.root.ino is None:
                self._context.still_there(job.tenant, job.root)
        except ColibriError as error:
            job.error = error.for_tenant(job.tenant.tenant_id)

    def _record(
        self, jobs: Sequence[_Job], failures: Mapping[str, ColibriError]
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
        yield from (self._outcome(job, receipts.get(job.tenant.tenant_id)) for job in jobs)

    def _report(
        self,
        jobs: Sequence[_Job],
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

    def _placed_nothing(self, job: _Job) -> bool:
        """Say whether a write failed, and for certain before a file had its name.

        Not while an older intent is open: what a crashed run placed is still to be accounted for.
        """
        if not job.error or job.plan.step is not Step.WRITE or job.known.intents:
            return False
        if job.error.code in {"tampered", "internal", "busy"}:
            return False
        return job.found is None or job.found.files is None or self._is_as_it_was(job, job.found)

    def _is_as_it_was(self, job: _Job, before: Found) -> bool:
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

    def _receipts(self, jobs: Sequence[_Job]) -> dict[str, Receipt]:
        return {
            job.tenant.tenant_id: self._receipt(job)
            for job in jobs
            if not job.error and job.plan.step is not Step.NOTHING
        }

    def _receipt(self, job: _Job) -> Receipt:
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

    def _outcome(self, job: _Job, receipt: Receipt | None) -> Outcome:
        if job.error:
            return failed(job.tenant.tenant_id, job.error)
        result: str = job.plan.step
        if self._options.dry_run and job.plan.step is Step.WRITE:
            result = "would_deliver"
        displaced = job.placed.displaced if job.placed else ""
        return Outcome(
            job.tenant.tenant_id,
            result,
            receipt,
            drift=job.plan.drift,
            displaced=displaced,
            warnings=job.warnings,
            left_out=job.left_out,
            jail=job.tenant.jail,
        )


def _check_bases(jobs: Sequence[_Job], delivery: Delivery) -> None:
    """Fail what was found or put below a base that leads elsewhere by now."""
    lost = delivery.astray([job.root for job in jobs])
    for job in jobs:
        if job.root.path in lost:
            job.error = lost[job.root.path].for_tenant(job.tenant.tenant_id)


def failed(tenant_id: str, error: ColibriError) -> Outcome:
    """Return the outcome of a tenant that was left as it was."""
    return Outcome(tenant_id, "failed", error=error.for_tenant(tenant_id))


def _asked_for(row: Tenant) -> tuple[str, str | None, int]:
    return row.source, row.collection_id, row.generation


def _announcement(job: _Job) -> Entry:
    detail = {
        "generation": job.plan.generation,
        "path": job.tenant.env_path,
        "jail": job.tenant.jail,
        "keys": list(job.keys),
        "digest": job.plan.digest,
        "found": list(job.plan.drift),
    }
    return Entry(Event.WILL_DELIVER, job.tenant.tenant_id, detail)


def _entries(
    jobs: Sequence[_Job],
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
