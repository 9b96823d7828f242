"""Leased variables of one run: asked for before the batch, settled after each delivery.

Per tenant: record "asked", audit, ask the server, record the lease, deliver, record it as live,
and only then end what it replaces. Killed anywhere, the next pass finds the row and ends it.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from vault_svc.domain import moments
from vault_svc.domain.audit import Event
from vault_svc.domain.lease import Lease, LeaseToken, Plan, Request, Standing, State, plan
from vault_svc.domain.plan import Known, Outcome
from vault_svc.domain.secret import SecretSet, SecretValue, Unchanged
from vault_svc.domain.tenant import Action, Tenant, next_status
from vault_svc.errors import ColibriError
from vault_svc.ports.secret_source import Answer
from vault_svc.services.context import Context
from vault_svc.services.job import Options
from vault_svc.services.lease_ending import LeaseEnder
from vault_svc.services.read_back import ReadBack, read_back, reconcile, static_part

Work = tuple[Known, Answer]

_MADE_NONE = frozenset({"source_forbidden", "lease_refused", "lease_missing"})
"""Refusals after which there is no lease; after any other failure there may be one, untold."""


@dataclass(slots=True)
class _Begun:
    """A tenant whose leases are asked for and whose delivery is under way."""

    known: Known
    standing: Standing
    plan: Plan
    before: ReadBack
    accessor: str = ""
    issued: list[Lease] = field(default_factory=list)


class Leasing:
    """Merges leased values into what the source gave; the caller holds every tenant's lock."""

    def __init__(self, context: Context, options: Options) -> None:
        """Take the ports and the run's options; in a dry run nothing is asked for or ends."""
        self._context = context
        self._options = options
        self._ender = LeaseEnder(context)
        self._begun: dict[str, _Begun] = {}

    def prepared(
        self, work: Sequence[Work], *, lost: Collection[str] = ()
    ) -> tuple[list[Work], list[Outcome]]:
        """Return work with leased values in it, and outcomes of tenants that are done already.

        lost: keys of leases to be replaced although they are recorded as live.
        """
        standings = self._context.leases.standings([known.tenant.tenant_id for known, _ in work])
        ready: list[Work] = []
        done: list[Outcome] = []
        for known, found in work:
            standing = standings.get(known.tenant.tenant_id)
            if standing is None or isinstance(found, ColibriError):
                ready.append((known, found))
                continue
            try:
                made = self._prepare(known, found, standing, lost)
            except ColibriError as error:
                ready.append((known, error))
                continue
            if isinstance(made, Outcome):
                done.append(made)
            else:
                ready.append((known, made))
        return ready, done

    def settled(self, outcome: Outcome) -> Outcome:
        """End what the delivery replaced, or what a failed one asked for in vain."""
        begun = self._begun.pop(outcome.tenant_id, None)
        if begun is None or self._options.dry_run:
            return outcome
        if outcome.error:
            self._undo(begun)
            return outcome
        try:
            self._settle(begun)
        except ColibriError as error:
            words = f"what was replaced has not ended yet: {error.line()}; colibri renew goes on"
            return replace(outcome, warnings=(*outcome.warnings, words))
        return outcome

    def _prepare(
        self, known: Known, found: SecretSet | Unchanged, standing: Standing, lost: Collection[str]
    ) -> Answer | Outcome:
        tenant = known.tenant
        next_status(tenant, Action.PROVISION)
        if isinstance(found, SecretSet):
            bucket_empty = tenant.collection_id is not None and not found.values
            if bucket_empty and not self._options.allow_empty:
                return found  # refused as it is: leased values must not hide that
            _refuse_ambiguous(tenant, found, standing)
        before = read_back(self._context, known)
        standing = reconcile(self._context, known, standing, before)
        todo = plan(standing, before.names, self._context.clock.now(), lost)
        if isinstance(found, Unchanged):
            if before.values is None or (todo.quiet and not standing.dead_tokens):
                return found
            found = static_part(known, before, standing)
        begun = _Begun(known, standing, todo, before, _accessor(standing))
        leased = {
            variable: value
            for lease in todo.kept
            for variable, value in (before.values or {}).items()
            if variable in lease.request.variables
        }
        if todo.wanted and self._options.dry_run:
            words = tuple(f"a new lease of {request.path}" for request in todo.wanted)
            return Outcome(tenant.tenant_id, "would_deliver", drift=words)
        if todo.wanted:
            leased |= self._issued(begun)
        if not todo.quiet or standing.dead_tokens:
            self._begun[tenant.tenant_id] = begun
        return replace(found, values={**found.values, **leased})

    def _issued(self, begun: _Begun) -> dict[str, SecretValue]:
        """Ask for every wanted lease; a tenant gets all of them or keeps what it has."""
        tenant_id = begun.known.tenant.tenant_id
        self._tidy(begun)
        paths = [request.path for request in begun.plan.wanted]
        self._context.record(Event.WILL_LEASE, tenant_id, paths=paths)
        token = self._token(begun)
        values: dict[str, SecretValue] = {}
        try:
            for request in begun.plan.wanted:
                values |= self._ask(begun, token, request)
        except ColibriError:
            self._undo(begun)
            raise
        return values

    def _tidy(self, begun: _Begun) -> None:
        """End what earlier failures left before asking for more, so that it cannot pile up.

        Only while it is certain that the file holds none of it.
        """
        if not begun.before.is_settled:
            return
        in_file = {lease.accessor for lease in begun.standing.leases if lease.state is State.LIVE}
        left = [lease for lease in begun.plan.over if lease.state is not State.LIVE]
        tokens = [
            token
            for token in begun.standing.tokens
            if not token.live and token.accessor not in in_file
        ]
        if left or tokens:
            self._ender.end(begun.known.tenant.tenant_id, left, tokens)

    def _token(self, begun: _Begun) -> SecretValue:
        tenant_id, current = begun.known.tenant.tenant_id, begun.standing.token
        if current and not begun.plan.untold and self._context.clock.now() < current.expires_at:
            kept = self._context.lease_tokens.get(tenant_id, current.accessor)
            if kept and self._context.lease_source().is_token_alive(current.accessor):
                return kept
        grant = self._context.lease_source().grant(tenant_id)
        now = self._context.clock.now()
        expires_at = moments.after(now, grant.seconds)
        fresh = LeaseToken(
            tenant_id, grant.accessor, live=True, renewed_at=now, expires_at=expires_at
        )
        # The row first: a token is ended by its accessor, whether its sealed copy is there or not.
        self._context.leases.record(tokens=[fresh])
        self._context.lease_tokens.put(tenant_id, grant.accessor, grant.token)
        begun.accessor = grant.accessor
        return grant.token

    def _ask(self, begun: _Begun, token: SecretValue, request: Request) -> dict[str, SecretValue]:
        tenant_id, now = begun.known.tenant.tenant_id, self._context.clock.now()
        asked = Lease(
            key=uuid.uuid4().hex,
            tenant_id=tenant_id,
            request=request,
            state=State.ASKED,
            accessor=begun.accessor,
            lease_id="",
            issued_at=now,
            expires_at=now,
            renewable=False,
            generation=begun.known.next_generation(),
        )
        self._context.leases.record([asked])
        try:
            issued = self._context.lease_source().issue(token, request)
        except ColibriError as error:
            if error.code in _MADE_NONE:
                self._context.leases.forget([asked.key])
            raise
        made = replace(
            asked,
            state=State.ISSUED,
            lease_id=issued.lease_id,
            expires_at=moments.after(now, issued.seconds),
            renewable=issued.renewable,
        )
        begun.issued.append(made)
        self._context.leases.record([made])
        if issued.refused:
            raise issued.refused
        return dict(issued.values)

    def _settle(self, begun: _Begun) -> None:
        tenant_id = begun.known.tenant.tenant_id
        live = [replace(lease, state=State.LIVE) for lease in begun.issued]
        replaced = [
            replace(lease, state=State.ENDING)
            for lease in begun.plan.over
            if lease.state is State.LIVE
        ]
        if live or replaced:
            self._context.leases.record([*live, *replaced])
        if live:
            expiries = {lease.request.path: lease.expires_at for lease in live}
            self._context.record(Event.LEASED, tenant_id, expires_at=expiries)
        # Read anew: what was tidied away is gone, the token may be another.
        now = self._context.leases.standings([tenant_id]).get(tenant_id, Standing())
        over = [lease for lease in now.leases if lease.state is not State.LIVE]
        tokens = [token for token in now.tokens if not token.live]
        if over or tokens:
            ended = self._ender.end(tenant_id, over, tokens)
            self._context.record(Event.LEASES_ENDED, tenant_id, ended=list(ended))

    def _undo(self, begun: _Begun) -> None:
        """End what was asked for in vain, once it is certain that the file has none of it."""
        if not begun.issued:
            return
        with suppress(ColibriError):  # the rows stay, and the next pass goes on
            asked = [v for lease in begun.issued for v in lease.request.variables]
            after = read_back(self._context, begun.known, asked)
            if _same(begun.before, after):
                self._ender.end(begun.known.tenant.tenant_id, begun.issued, ())
                begun.issued.clear()


def _refuse_ambiguous(tenant: Tenant, found: SecretSet, standing: Standing) -> None:
    both = sorted({each.variable for each in standing.variables} & set(found.values))
    if both:
        raise ColibriError(
            "secret_ambiguous",
            f"{', '.join(both[:8])}: leased, and in collection '{tenant.collection}' as well",
            hint=f"colibri lease remove {tenant.tenant_id} {both[0]}, or take it out of the"
            " collection",
            tenant=tenant.tenant_id,
        )


def _accessor(standing: Standing) -> str:
    return standing.token.accessor if standing.token else ""


def _same(before: ReadBack, after: ReadBack) -> bool:
    one, other = before.found, after.found
    return (one.kind, one.ino, one.content) == (other.kind, other.ino, other.content)
