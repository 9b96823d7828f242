"""Dynamic secrets: which variables come from which leased path, and what became of each lease.

A lease's row never holds a value: values live in the tenant's delivered file and nowhere else.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from vault_svc.domain import moments

DUE: Final = 2 / 3
"""The part of its life after which a lease, or a tenant's lease token, is renewed."""


class State(StrEnum):
    """Where a lease stands."""

    ASKED = "asked"  # announced; whether the server made one is not known
    ISSUED = "issued"  # made; no recorded delivery holds its values
    LIVE = "live"  # the tenant's file holds its values
    ENDING = "ending"  # to be ended at the server


@dataclass(frozen=True, slots=True)
class Request:
    """One read of a leased path and the variables it fills: (variable, field), sorted.

    params: what is sent with it, (name, value); a request with params is a write, as PKI wants.
    """

    path: str
    fields: tuple[tuple[str, str], ...]
    params: tuple[tuple[str, str], ...] = ()

    @property
    def variables(self) -> frozenset[str]:
        """The names of the variables it fills."""
        return frozenset(variable for variable, _ in self.fields)


@dataclass(frozen=True, slots=True)
class LeasedVariable:
    """One variable of a tenant that comes from a leased path."""

    tenant_id: str
    variable: str
    path: str
    field: str
    params: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Lease:
    """One lease of a tenant; lease_id is empty while asked, and for what has none (certificates).

    accessor: of the tenant's token that it was asked with; that token's end is the lease's end.
    generation: of the delivery that it was asked for.
    """

    key: str
    tenant_id: str
    request: Request
    state: State
    accessor: str
    lease_id: str
    issued_at: str
    expires_at: str
    renewable: bool
    generation: int

    def is_over(self, now: str) -> bool:
        """Say whether it has expired."""
        return now >= self.expires_at

    @property
    def due_at(self) -> str:
        """When it has lived two thirds of its life."""
        return _due(self.issued_at, self.expires_at)


@dataclass(frozen=True, slots=True)
class LeaseToken:
    """A tenant's periodic token, by its accessor; the token itself is kept sealed."""

    tenant_id: str
    accessor: str
    live: bool
    renewed_at: str
    expires_at: str

    @property
    def due_at(self) -> str:
        """When two thirds of its period are over."""
        return _due(self.renewed_at, self.expires_at)


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything the registry knows of one tenant's dynamic secrets."""

    variables: tuple[LeasedVariable, ...] = ()
    leases: tuple[Lease, ...] = ()
    tokens: tuple[LeaseToken, ...] = ()

    @property
    def token(self) -> LeaseToken | None:
        """The token that new leases are asked with, if there is one."""
        return next((token for token in self.tokens if token.live), None)

    @property
    def dead_tokens(self) -> tuple[LeaseToken, ...]:
        """Tokens that were replaced and have not ended yet."""
        return tuple(token for token in self.tokens if not token.live)

    def requests(self) -> tuple[Request, ...]:
        """Return one request a path: all variables of one path share one lease."""
        found: dict[tuple[str, tuple[tuple[str, str], ...]], list[tuple[str, str]]] = {}
        for each in self.variables:
            found.setdefault((each.path, each.params), []).append((each.variable, each.field))
        return tuple(
            Request(path, tuple(sorted(fields)), params)
            for (path, params), fields in sorted(found.items())
        )

    def leased_names(self) -> frozenset[str]:
        """Return every variable that the file may hold from a lease, mapped still or not."""
        names = {each.variable for each in self.variables}
        return frozenset(names.union(*(lease.request.variables for lease in self.leases)))


@dataclass(frozen=True, slots=True)
class Plan:
    """What has to be done for one tenant.

    kept: live leases whose values stay. wanted: to be asked for. over: to be ended once the file
    is without them. untold: something was asked for whose answer nobody recorded, so that only
    the end of its token ends it: all begins anew with another token.
    """

    kept: tuple[Lease, ...]
    wanted: tuple[Request, ...]
    over: tuple[Lease, ...]
    untold: bool

    @property
    def quiet(self) -> bool:
        """Whether nothing has to be asked for or ended."""
        return not (self.wanted or self.over or self.untold)


def plan(standing: Standing, known: Collection[str], now: str, lost: Collection[str] = ()) -> Plan:
    """Return what to keep, ask for and end.

    known: variables whose value can be read back from the delivered file. lost: keys of leases
    that the server does not honour any more or that have to be replaced.
    """
    token = standing.token
    untold = token is not None and any(
        lease.state is State.ASKED and lease.accessor == token.accessor for lease in standing.leases
    )
    kept: list[Lease] = []
    wanted: list[Request] = []
    for request in standing.requests():
        usable = [
            lease
            for lease in standing.leases
            if lease.request == request
            and _usable(lease, token, now)
            and lease.key not in lost
            and request.variables <= set(known)
            and not untold
        ]
        kept += usable[:1]
        if not usable:
            wanted.append(request)
    over = tuple(lease for lease in standing.leases if lease not in kept)
    return Plan(tuple(kept), tuple(wanted), over, untold)


def _usable(lease: Lease, token: LeaseToken | None, now: str) -> bool:
    made_by_ours = token is not None and token.accessor == lease.accessor
    return lease.state is State.LIVE and made_by_ours and not lease.is_over(now)


def reconciled(leases: Sequence[Lease], delivered: int | None) -> tuple[Lease, ...]:
    """Return leases as a run that was killed should have left them.

    delivered: the generation that is certain to stand in the jail, None where none is. What was
    issued for it is live, and takes the place of what was; any other issue is to be ended, before
    the next delivery takes the same generation.
    """
    arrived: set[str] = set()
    for lease in leases:
        if lease.state is State.ISSUED and lease.generation == delivered:
            arrived |= lease.request.variables
    return tuple(_reconciled(lease, delivered, arrived) for lease in leases)


def _reconciled(lease: Lease, delivered: int | None, arrived: Collection[str]) -> Lease:
    if lease.state is State.ISSUED:
        has_arrived = lease.generation == delivered
        return replace(lease, state=State.LIVE if has_arrived else State.ENDING)
    if lease.state is State.LIVE and lease.request.variables & set(arrived):
        return replace(lease, state=State.ENDING)
    return lease


def _due(start: str, end: str) -> str:
    return moments.after(start, DUE * moments.seconds_between(start, end))
