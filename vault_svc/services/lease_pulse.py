"""Feels a tenant's leases: renews what is due, and finds out what the server lets live."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vault_svc.domain import moments
from vault_svc.domain.lease import Lease, LeaseToken, Standing, State
from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError
from vault_svc.services.context import Context

_WORTH_SECONDS = 1.0
"""A renewal that gives no more than this has reached the lease's longest life."""


@dataclass(slots=True)
class Pulse:
    """What was found; standing is the tenant's afterwards.

    lost: keys of leases to be replaced. dead: those of them whose values are good for nothing
    any more. error: what kept the server from being asked, which is no verdict on any lease.
    """

    standing: Standing
    renewed: int = 0
    lost_leases: list[Lease] = field(default_factory=list)
    dead: list[Lease] = field(default_factory=list)
    error: ColibriError | None = None

    @property
    def lost(self) -> frozenset[str]:
        """The keys of leases to be replaced."""
        return frozenset(lease.key for lease in self.lost_leases)

    def lose(self, lease: Lease, *, dead: bool) -> None:
        """Note a lease that has to be replaced."""
        self.lost_leases.append(lease)
        if dead:
            self.dead.append(lease)


def feel(context: Context, standing: Standing) -> Pulse:
    """Renew what is due at two thirds of its life, look every other lease up."""
    pulse = Pulse(standing)
    now = context.clock.now()
    live = [lease for lease in standing.leases if lease.state is State.LIVE]
    pending = []
    for lease in live:
        if lease.is_over(now):
            pulse.lose(lease, dead=True)
        else:
            pending.append(lease)
    try:
        token = _token(context, pulse, now)
        for lease in pending:
            _feel_one(context, pulse, lease, token, now)
    except ColibriError as error:
        pulse.error = error
    return pulse


def _token(context: Context, pulse: Pulse, now: str) -> SecretValue | None:
    """Return the tenant's token, renewed if that is due; None where it is dead or lost."""
    kept = pulse.standing.token
    if kept is None:
        return None
    token = context.lease_tokens.get(kept.tenant_id, kept.accessor)
    if token and now < kept.due_at:
        return token
    seconds = context.lease_source().renew_token(token) if token else None
    if seconds is None:
        _replace_token(context, pulse, replace(kept, live=False))
        return None
    expires_at = moments.after(now, seconds)
    _replace_token(context, pulse, replace(kept, renewed_at=now, expires_at=expires_at))
    return token


def _replace_token(context: Context, pulse: Pulse, token: LeaseToken) -> None:
    context.leases.record(tokens=[token])
    others = [each for each in pulse.standing.tokens if each.accessor != token.accessor]
    pulse.standing = replace(pulse.standing, tokens=(*others, token))


def _feel_one(
    context: Context, pulse: Pulse, lease: Lease, token: SecretValue | None, now: str
) -> None:
    if now < lease.due_at and token:
        if lease.lease_id and not context.lease_source().is_alive(lease.lease_id):
            pulse.lose(lease, dead=True)
        return
    if token and lease.renewable and lease.lease_id:
        life = moments.seconds_between(lease.issued_at, lease.expires_at)
        renewed = context.lease_source().renew(token, lease.lease_id, life)
        if renewed:
            expires_at = moments.after(now, renewed.seconds)
            gained = moments.seconds_between(lease.expires_at, expires_at)
            again = replace(
                lease, issued_at=now, expires_at=expires_at, renewable=renewed.renewable
            )
            if gained > _WORTH_SECONDS:
                _replace_lease(context, pulse, again)
                pulse.renewed += 1
                return
    alive = not lease.lease_id or context.lease_source().is_alive(lease.lease_id)
    pulse.lose(lease, dead=not alive)


def _replace_lease(context: Context, pulse: Pulse, lease: Lease) -> None:
    context.leases.record([lease])
    others = [each for each in pulse.standing.leases if each.key != lease.key]
    pulse.standing = replace(pulse.standing, leases=(*others, lease))
