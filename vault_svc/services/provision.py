"""Provision: every tenant's jail holds exactly what its collection says, or stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, groupby

from vault_svc.domain.audit import Event
from vault_svc.domain.plan import Known, Outcome
from vault_svc.domain.receipt import Receipt
from vault_svc.domain.secret import CollectionRef, SecretSet
from vault_svc.domain.tenant import Action, Status, Tenant, next_status
from vault_svc.errors import ColibriError
from vault_svc.faults import internal
from vault_svc.ports.secret_source import Answer, Resolve, Resolved
from vault_svc.services import reloading
from vault_svc.services.agreement import agrees, holds
from vault_svc.services.batch import Batch, in_batches
from vault_svc.services.context import Context, reference
from vault_svc.services.job import Options, failed
from vault_svc.services.leasing import Leasing, Work
from vault_svc.services.parts import Apart, Parts, set_aside


@dataclass(frozen=True, slots=True)
class Provisioner:
    """Delivers one tenant, or all of this host's, each on its own (rule 6).

    apart serves parts of many tenants, a process each. resolve answers in the source's place, as
    of when the rows that are delivered to were read.
    """

    context: Context
    apart: Apart | None = None
    resolve: Resolve | None = None

    def one(self, tenant_id: str, options: Options) -> Outcome:
        """Deliver one tenant; raise what stops it, `no_collection` for a row without a bucket."""
        row = self.context.registry.tenant(tenant_id)
        next_status(row, Action.PROVISION)
        if not self._lessees([row]):
            reference(row)
        (outcome,) = self._source_group([row], options)
        if outcome.error:
            raise outcome.error
        return outcome

    def several(
        self, tenant_ids: Sequence[str], options: Options, *, wait: bool = True
    ) -> Iterator[Outcome]:
        """Deliver the named tenants; yield one outcome each, with what stopped it.

        None waits for another's lock longer than all of them may, see `everyone`; or at all.
        """
        found = self.context.registry.rows(tenant_ids)
        lessees = self._lessees(list(found.values()))
        ready = []
        for tenant_id in sorted(tenant_ids):
            try:
                row = found.get(tenant_id) or self.context.registry.tenant(tenant_id)
                next_status(row, Action.PROVISION)
                if row.tenant_id not in lessees:
                    reference(row)
            except ColibriError as error:
                yield failed(tenant_id, error)
            else:
                ready.append(row)
        yield from self.listed(ready, options) if wait else self.once(ready, options)

    def everyone(self, options: Options) -> Iterator[Outcome]:
        """Deliver every tenant of this host that is not suspended or offboarded.

        Yields one outcome a tenant, as it happens; `suspended` for those that get nothing. Tenants
        whose lock another process holds are tried again at the end, together: asking a server
        again for each would take longer, and all of them share one lock_timeout_seconds.
        """
        every = self.context.registry.tenants(host=self.context.settings.host)
        rows = [row for row in every if row.status in {Status.REGISTERED, Status.ACTIVE}]
        yield from (_suspended(row) for row in every if row.status is Status.SUSPENDED)
        lessees = self._lessees(rows)
        served = [r for r in rows if r.collection_id is not None or r.tenant_id in lessees]
        idle = {row.tenant_id for row in rows} - {row.tenant_id for row in served}
        yield from (Outcome(tenant_id, "no_collection") for tenant_id in sorted(idle))
        rows = served
        resting = {row.tenant_id for row in rows if self._rests(row)}
        yield from (Outcome(tenant_id, "no_jail") for tenant_id in sorted(resting))
        rows = [row for row in rows if row.tenant_id not in resting]
        unchanged = 0
        for outcome in self._shared(rows, options):
            unchanged += outcome.result == "unchanged"
            yield outcome
        if unchanged and not options.dry_run:
            self.context.record(Event.UNCHANGED_SUMMARY, unchanged=unchanged)

    def _shared(self, rows: Sequence[Tenant], options: Options) -> Iterator[Outcome]:
        """Deliver to many, those of one source in parts where it can be asked in parts."""
        if self.apart is None:
            yield from self.listed(rows, options)
            return
        parts = Parts(self.context, self.apart)
        busy: list[str] = []
        for _source, group in groupby(sorted(rows, key=_by_source), key=lambda row: row.source):
            mine = list(group)
            if options.repair:  # before the source is asked for those that it is not needed for
                mine, sound = self._split_drifted(mine)
                yield from sound
            shared, alone = None, self
            try:
                shared = parts.deliver(mine, options, busy)
            except ColibriError as error:  # the whole source: each tenant fails with it, by name
                alone = replace(self, resolve=partial(_raised, error))
            yield from shared or set_aside(alone.once(mine, options), busy)
        yield from self._again(busy, options)

    def part(self, rows: Sequence[Tenant], options: Options) -> Iterator[list[Outcome]]:
        """Deliver to rows of one source in a process made for them; yield what each batch came to.

        Whatever goes wrong is told by name.
        """
        left = {row.tenant_id for row in rows}
        try:
            for outcomes in self._batches(rows, options, until=0.0):
                left.difference_update(outcome.tenant_id for outcome in outcomes)
                yield outcomes
        except Exception as error:  # noqa: BLE001 - nobody else in this process would tell of it
            told = error if isinstance(error, ColibriError) else internal(error)
            yield [failed(tenant_id, told) for tenant_id in sorted(left)]

    def listed(self, rows: Sequence[Tenant], options: Options) -> Iterator[Outcome]:
        """Deliver to rows as listed, source by source; those that were busy come last."""
        busy: list[str] = []
        yield from set_aside(self.once(rows, options), busy)
        yield from self._again(busy, options)

    def once(self, rows: Sequence[Tenant], options: Options) -> Iterator[Outcome]:
        """Deliver to rows, source by source, without waiting for another's lock."""
        for _source, group in groupby(sorted(rows, key=_by_source), key=lambda row: row.source):
            yield from self._source_group(list(group), options, until=0.0)

    def _again(self, busy: Sequence[str], options: Options) -> Iterator[Outcome]:
        again = sorted(self.context.registry.rows(busy).values(), key=_by_source)
        until = self.context.clock.monotonic() + self.context.settings.lock_timeout_seconds
        for _source, group in groupby(again, key=lambda row: row.source):
            # Locks are waited for in the order of ids, as everybody does: no two wait in a circle.
            yield from self._source_group(list(group), options, until=until)

    def _rests(self, row: Tenant) -> bool:
        """Say whether a tenant's ephemeral jail is not there now: its next spawn delivers."""
        engine = self.context.engine(row.engine)
        if row.jail_root or not engine.capabilities.stable_roots:
            return False
        try:
            engine.root_of(row.jail)
        except ColibriError as error:
            return error.code == "jail_not_found"
        return False

    def count(self) -> int:
        """Return how many tenants `everyone` would try."""
        rows = self.context.registry.tenants(host=self.context.settings.host)
        return sum(row.status is not Status.OFFBOARDED for row in rows)

    def _source_group(
        self, rows: Sequence[Tenant], options: Options, *, until: float | None = None
    ) -> Iterator[Outcome]:
        return chain.from_iterable(self._batches(rows, options, until=until))

    def _batches(
        self, rows: Sequence[Tenant], options: Options, *, until: float | None
    ) -> Iterator[list[Outcome]]:
        if options.repair:
            rows, sound = self._split_drifted(rows)
            yield sound
        answers = _Answers(rows, self._resolve)
        with reloading.Telling(self.context, wanted=options.reload) as telling:
            size, alone = self.context.settings.batch_size, self.resolve is None
            for batch in in_batches(rows, size, one_by_one=alone):
                outcomes: list[Outcome] = []
                try:
                    outcomes.extend(self._locked(batch, answers, options, until=until))
                finally:
                    yield list(telling.passed(outcomes))
            yield list(telling.rest())

    def _resolve(self, listed: Sequence[Tenant]) -> Iterator[tuple[Tenant, Answer]]:
        """Yield each row as it is now with what the source has for it; never fewer than listed.

        Rows are read again first: one whose generation differs when its turn comes was delivered
        after the source was asked, and must not get what is older.
        """
        rows = listed
        if self.resolve is None:
            fresh = self.context.registry.rows([row.tenant_id for row in listed])
            rows = [_with_bucket(fresh.get(row.tenant_id), row) for row in listed]
        found = self._found([row for row in rows if row.collection_id is not None])
        for row in rows:
            yield row, _NO_BUCKET if row.collection_id is None else next(found)

    def _found(self, rows: Sequence[Tenant]) -> Iterator[Answer]:
        answered, failure = 0, None
        try:
            source = self.context.source(rows[0].source)
            refs = self._delivered(rows) if source.tells_unchanged else map(reference, rows)
            resolve = self.resolve or source.resolve
            for row, (ref, found) in zip(rows, resolve(list(refs)), strict=False):
                mine = ref.collection_id == row.collection_id
                yield found if mine else _unanswered(row)
                answered += 1
        except ColibriError as error:  # the whole source: each tenant fails with it, by name
            failure = error
        yield from (failure or _unanswered(row) for row in rows[answered:])

    def _delivered(self, rows: Sequence[Tenant]) -> Iterator[CollectionRef]:
        """Say of each collection which revision its jail should hold, and how to look whether."""
        for row, known in zip(rows, self._known(rows).values(), strict=True):
            newest, ref = known.newest, reference(row)
            if isinstance(newest, Receipt):
                look = partial(holds, self.context, row, newest, known.intents)
                ref = replace(ref, delivered=newest.source_revision, is_held=look)
            yield ref

    def _lessees(self, rows: Sequence[Tenant]) -> frozenset[str]:
        """Return those without a bucket that have leased variables all the same."""
        return frozenset(
            self.context.leases.standings([r.tenant_id for r in rows if r.collection_id is None])
        )

    def _locked(
        self,
        rows: Sequence[Tenant],
        answers: _Answers,
        options: Options,
        *,
        until: float | None,
    ) -> Iterator[Outcome]:
        with ExitStack() as locks:
            mine = []
            for row in rows:
                try:
                    locks.enter_context(self.context.locks.hold(row.tenant_id, until=until))
                except ColibriError as error:
                    answers.skip(row)
                    yield failed(row.tenant_id, error)
                else:
                    mine.append(row)
            try:
                held = [answers.take(row) for row in mine]
                known = self._known([row for row, _ in held])
            except ColibriError as error:  # the registry: this batch fails, the others go on
                yield from (failed(row.tenant_id, error) for row in mine)
                return
            listed = {row.tenant_id: row for row, _ in held}
            yield from self._run(
                [(known[row.tenant_id], found) for row, found in held], listed, options
            )

    def _run(
        self, work: Sequence[Work], listed: Mapping[str, Tenant], options: Options
    ) -> Iterator[Outcome]:
        leasing = Leasing(self.context, options)
        try:
            ready, done = leasing.prepared(work)
        except ColibriError as error:  # the registry: this batch fails, the others go on
            yield from (failed(known.tenant.tenant_id, error) for known, _ in work)
            return
        yield from done
        for outcome in Batch(self.context, options).run(ready, listed=listed):
            yield leasing.settled(outcome)

    def _known(self, rows: Sequence[Tenant]) -> dict[str, Known]:
        ids = [row.tenant_id for row in rows]
        registry = self.context.registry
        fresh, newest, intents = (
            registry.rows(ids),
            registry.newest(ids),
            registry.open_intents(ids),
        )
        return {i: Known(fresh[i], newest.get(i), intents.get(i, ())) for i in ids}

    def _split_drifted(self, rows: Sequence[Tenant]) -> tuple[list[Tenant], list[Outcome]]:
        """Leave out tenants whose file agrees with its receipt: repair asks no source for them.

        An open intent is drift too: the file may be that of a run that crashed (decision 11). What
        was never delivered, or taken out since, cannot have drifted: it is left to provision.
        """
        ids = [row.tenant_id for row in rows]
        newest, intents = self.context.registry.newest(ids), self.context.registry.open_intents(ids)
        drifted, sound = [], []
        for row in rows:
            settled, receipt = not intents.get(row.tenant_id), newest.get(row.tenant_id)
            if settled and not isinstance(receipt, Receipt):
                sound.append(Outcome(row.tenant_id, "not_delivered"))
                continue
            try:
                sound_file = settled and agrees(self.context, row, receipt)
            except ColibriError:
                sound_file = False
            if sound_file:
                sound.append(Outcome(row.tenant_id, "unchanged"))
            else:
                drifted.append(row)
        return drifted, sound


_NO_BUCKET = SecretSet("", "", {})
_Answer = tuple[Tenant, Answer]


class _Answers:
    """The source's answers for rows, in order; it is asked when the first is taken, not before.

    Until then a row can be skipped at no cost: a run that finds every tenant busy asks nobody.
    """

    def __init__(
        self, rows: Sequence[Tenant], ask: Callable[[Sequence[Tenant]], Iterator[_Answer]]
    ) -> None:
        self._skipped: set[str] = set()
        self._rows = rows
        self._ask = ask
        self._answers: Iterator[_Answer] | None = None

    def skip(self, row: Tenant) -> None:
        """Pass over a row that is not wanted."""
        self._skipped.add(row.tenant_id)

    def take(self, row: Tenant) -> _Answer:
        """Return the answer for a row; rows are taken in their order."""
        if self._answers is None:
            self._answers = self._ask([r for r in self._rows if r.tenant_id not in self._skipped])
        for answer in self._answers:
            if answer[0].tenant_id == row.tenant_id:
                return answer
        return row, _unanswered(row)


def _with_bucket(fresh: Tenant | None, listed: Tenant) -> Tenant:
    return fresh if fresh is not None and fresh.collection_id is not None else listed


def _by_source(row: Tenant) -> tuple[str, str]:
    return row.source, row.tenant_id


def _unanswered(row: Tenant) -> ColibriError:
    return ColibriError(
        "source_incomplete",
        f"source '{row.source}' gave no answer for collection '{row.collection}'",
        hint="run it again; nothing was changed",
    )


def _raised(error: ColibriError, refs: Sequence[CollectionRef]) -> Iterator[Resolved]:
    del refs
    raise error


def _suspended(row: Tenant) -> Outcome:
    return Outcome(row.tenant_id, "suspended")
