"""One pass over every lease of this host: renew, replace, or take the value out of the jail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from vault_svc.domain.audit import Event
from vault_svc.domain.lease import Lease, Standing, State, plan
from vault_svc.domain.plan import Known, Outcome
from vault_svc.domain.receipt import Found, Receipt
from vault_svc.domain.tenant import Status, Tenant
from vault_svc.errors import ColibriError
from vault_svc.services import reloading
from vault_svc.services.batch import Batch
from vault_svc.services.context import Context
from vault_svc.services.job import Options
from vault_svc.services.lease_ending import LeaseEnder
from vault_svc.services.lease_pulse import Pulse, feel
from vault_svc.services.leasing import Leasing, Work
from vault_svc.services.provision import Provisioner
from vault_svc.services.read_back import ReadBack, part, read_back, reconcile, static_part

_EMPTY_IS_RIGHT = Options(allow_empty=True)


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a pass came to for one tenant.

    result: `unchanged`, `renewed`, `redelivered`, `taken_out`, `ended` or `failed`. A value is
    taken out when its lease is over and no other could be had: error then says why not.
    """

    tenant_id: str
    result: str
    renewed: int = 0
    variables: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    next_due_at: str | None = None
    error: ColibriError | None = None
    delivery: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Renewer:
    """Each tenant on its own: one that fails neither delays nor harms another (rule 6)."""

    context: Context

    def everyone(self) -> Iterator[Renewal]:
        """Yield one outcome a tenant of this host that has leases or mappings."""
        rows = self.context.registry.rows(self.context.leases.tenants())
        mine = [t for t, row in sorted(rows.items()) if self._concerns(row)]
        busy, renewed = [], 0
        for tenant_id in mine:
            outcome = self._alone(tenant_id, wait=False)
            if outcome.error and outcome.error.code == "busy":
                busy.append(tenant_id)
                continue
            renewed += outcome.renewed
            yield outcome
        for tenant_id in busy:
            outcome = self._alone(tenant_id, wait=True)
            renewed += outcome.renewed
            yield outcome
        if renewed:
            self.context.record(Event.LEASES_RENEWED, renewed=renewed)

    def _concerns(self, row: Tenant) -> bool:
        gone = row.status is Status.OFFBOARDED and not LeaseEnder(self.context).left(row.tenant_id)
        return row.host == self.context.settings.host and not gone

    def _alone(self, tenant_id: str, *, wait: bool) -> Renewal:
        try:
            with self.context.locks.hold(tenant_id, wait=wait):
                outcome = self._one(tenant_id)
            if outcome.delivery:
                told = reloading.told(self.context, outcome.delivery)
                outcome = replace(outcome, delivery=None, warnings=told.warnings)
            if outcome.result == "provision":
                outcome = self._provisioned(tenant_id)
            due = self._next_due(tenant_id)
        except ColibriError as error:
            return Renewal(tenant_id, "failed", error=error.for_tenant(tenant_id))
        return replace(outcome, next_due_at=due)

    def _one(self, tenant_id: str) -> Renewal:
        known = self._known(tenant_id)
        standing = self.context.leases.standings([tenant_id]).get(tenant_id, Standing())
        if known.tenant.status in {Status.SUSPENDED, Status.OFFBOARDED}:
            return self._ended(tenant_id)
        before, blind = self._look(known)
        if not isinstance(known.newest, Receipt):
            return self._undelivered(tenant_id, standing, before, blind)
        if not blind:
            standing = reconcile(self.context, known, standing, before)
        pulse = feel(self.context, standing)
        todo = plan(
            pulse.standing,
            before.names if before.values is not None else standing.leased_names(),
            self.context.clock.now(),
            pulse.lost,
        )
        if pulse.error and not pulse.dead:
            raise pulse.error
        if todo.quiet and not pulse.standing.dead_tokens:
            return Renewal(tenant_id, "renewed" if pulse.renewed else "unchanged", pulse.renewed)
        if blind:
            raise blind
        if before.values is None:  # not what was delivered: only the source knows the rest
            return Renewal(tenant_id, "provision")
        return self._redelivered(known, pulse, before)

    def _look(self, known: Known) -> tuple[ReadBack, ColibriError | None]:
        """Look at the file; a jail that cannot be looked at now keeps no lease from renewal."""
        try:
            return read_back(self.context, known), None
        except ColibriError as error:
            return ReadBack(Found("unseen")), error

    def _undelivered(
        self, tenant_id: str, standing: Standing, before: ReadBack, blind: ColibriError | None
    ) -> Renewal:
        """A tenant whose jail is to hold nothing: what a crash left is ended."""
        if not (standing.leases or standing.tokens):
            return Renewal(tenant_id, "unchanged")
        if blind:
            raise blind
        if before.found.is_gone:
            return self._ended(tenant_id)
        return Renewal(tenant_id, "provision")

    def _ended(self, tenant_id: str) -> Renewal:
        ended = LeaseEnder(self.context).everything(tenant_id)
        if not ended:
            return Renewal(tenant_id, "unchanged")
        self.context.record(Event.LEASES_ENDED, tenant_id, ended=list(ended))
        return Renewal(tenant_id, "ended")

    def _provisioned(self, tenant_id: str) -> Renewal:
        outcome = Provisioner(self.context).one(tenant_id, Options())
        return Renewal(tenant_id, "redelivered", warnings=outcome.warnings)

    def _redelivered(self, known: Known, pulse: Pulse, before: ReadBack) -> Renewal:
        """Replace what is lost; the rest of the file is what it was, so no source is asked."""
        tenant = known.tenant
        if pulse.dead:
            dead = list(_variables(pulse.dead))
            self.context.record(Event.LEASE_LOST, tenant.tenant_id, variables=dead)
        static = static_part(known, before, pulse.standing)
        leasing = Leasing(self.context, _EMPTY_IS_RIGHT)
        ready, _ = leasing.prepared([(known, static)], lost=pulse.lost)
        (outcome,) = [leasing.settled(each) for each in self._batch(ready, tenant)]
        if outcome.error:
            if pulse.dead:
                return self._taken_out(known, pulse, before, outcome.error)
            raise outcome.error
        gone = _variables(pulse.lost_leases)
        result = "ended" if outcome.result == "unchanged" else "redelivered"
        return Renewal(tenant.tenant_id, result, pulse.renewed, gone, delivery=outcome)

    def _taken_out(
        self, known: Known, pulse: Pulse, before: ReadBack, why: ColibriError
    ) -> Renewal:
        """Deliver the file without what is dead; leave the rest, and say so."""
        tenant_id = known.tenant.tenant_id
        dead = _variables(pulse.dead)
        known = self._known(tenant_id)
        standing = self.context.leases.standings([tenant_id])[tenant_id]
        reconcile(self.context, known, standing, before)
        self.context.record(Event.WILL_TAKE_OUT, tenant_id, variables=list(dead), reason=why.code)
        (outcome,) = self._batch([(known, part(known, before, dead))], known.tenant)
        if outcome.error:
            raise outcome.error
        self.context.leases.record([replace(each, state=State.ENDING) for each in pulse.dead])
        return Renewal(tenant_id, "taken_out", pulse.renewed, dead, error=why, delivery=outcome)

    def _batch(self, work: Sequence[Work], tenant: Tenant) -> list[Outcome]:
        listed = {tenant.tenant_id: work[0][0].tenant}
        return list(Batch(self.context, _EMPTY_IS_RIGHT).run(work, listed=listed))

    def _known(self, tenant_id: str) -> Known:
        registry, ids = self.context.registry, [tenant_id]
        return Known(
            registry.tenant(tenant_id),
            registry.newest(ids).get(tenant_id),
            registry.open_intents(ids).get(tenant_id, ()),
        )

    def _next_due(self, tenant_id: str) -> str | None:
        standing = self.context.leases.standings([tenant_id]).get(tenant_id, Standing())
        live = [lease.due_at for lease in standing.leases if lease.state is State.LIVE]
        return min(live, default=None)


def _variables(leases: Sequence[Lease]) -> tuple[str, ...]:
    return tuple(sorted({name for lease in leases for name in lease.request.variables}))
