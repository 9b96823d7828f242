"""A server that leases, in memory: tokens with periods, leases tied to their token, accounts.

It keeps OpenBao's rules as the live suite saw them: a token's end ends its leases, a renewal
never reaches past the longest life, what is unknown cannot be renewed but can be ended. The
accounts it makes are `accounts`: a value is good while its account is there.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from tests.kit.memory import TurnableClock
from vault_svc.domain import moments
from vault_svc.domain.lease import Request
from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError
from vault_svc.ports.lease_source import Grant, Issued, Renewed


@dataclass
class _Token:
    tenant: str
    text: str
    expires_at: str


@dataclass
class _Lease:
    accessor: str
    path: str
    user: str
    made_at: str
    expires_at: str


@dataclass
class LeaseServer:
    """LeaseSource; turn `clock` and set the faults.

    down: every request fails. refused: paths no token may read. untold: leases are made and the
    answer is lost. stuck: leases cannot be ended. calls: the requests, in order.
    """

    clock: TurnableClock
    seconds: float = 3600.0
    longest: float = 86_400.0
    period: float = 86_400.0
    renewable: bool = True
    down: bool = False
    untold: bool = False
    stuck: bool = False
    refused: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    tokens: dict[str, _Token] = field(default_factory=dict)
    leases: dict[str, _Lease] = field(default_factory=dict)
    every_value: list[str] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def accounts(self) -> set[str]:
        """The users whose password is good now."""
        self._expire()
        return {lease.user for lease in self.leases.values()}

    def forget_lease(self, path: str) -> None:
        """Revoke behind colibri's back."""
        self.leases = {k: v for k, v in self.leases.items() if v.path != path}

    def grant(self, tenant_id: str) -> Grant:
        self._called("grant")
        number = next(self._numbers)
        accessor, text = f"accessor-{number}", f"s.token-{tenant_id}-{number:08x}-canary"
        expires_at = moments.after(self.clock.now(), self.period)
        self.tokens[accessor] = _Token(tenant_id, text, expires_at)
        self.every_value.append(text)
        return Grant(accessor, SecretValue(text), self.period)

    def renew_token(self, token: SecretValue) -> float | None:
        self._called("renew_token")
        found = self._by_text(token)
        if found is None:
            return None
        self.tokens[found].expires_at = moments.after(self.clock.now(), self.period)
        return self.period

    def issue(self, token: SecretValue, request: Request) -> Issued:
        self._called("issue")
        accessor = self._by_text(token)
        if accessor is None or request.path in self.refused or not self._may(accessor, request):
            raise ColibriError("source_forbidden", f"the server refused '{request.path}'")
        if request.path.startswith("kv/"):
            raise ColibriError("lease_missing", f"'{request.path}' gives no lease")
        number = next(self._numbers)
        user = f"v-user-{number:08x}"
        secret = {"username": user, "password": f"pw-{number:08x}-canary"}
        lease_id = f"{request.path}/{number}"
        now = self.clock.now()
        expires_at = moments.after(now, self.seconds)
        self.leases[lease_id] = _Lease(accessor, request.path, user, now, expires_at)
        self.every_value += secret.values()
        if self.untold:
            raise ColibriError("source_unreachable", "the answer was lost")
        try:
            values = {name: SecretValue(secret[where]) for name, where in request.fields}
        except KeyError as error:
            why = ColibriError("secret_missing", f"'{request.path}' has no field {error}")
            return Issued(lease_id, {}, self.seconds, self.renewable, refused=why)
        return Issued(lease_id, values, self.seconds, self.renewable)

    def renew(self, token: SecretValue, lease_id: str, seconds: float) -> Renewed | None:
        self._called("renew")
        lease = self.leases.get(lease_id)
        if lease is None or self._by_text(token) is None or not self.renewable:
            return None
        end = moments.after(lease.made_at, self.longest)
        lease.expires_at = min(moments.after(self.clock.now(), seconds), end)
        return Renewed(moments.seconds_between(self.clock.now(), lease.expires_at), renewable=True)

    def is_alive(self, lease_id: str) -> bool:
        self._called("is_alive")
        return lease_id in self.leases

    def end(self, lease_id: str) -> None:
        self._called("end")
        if self.stuck:
            raise ColibriError("source_unreachable", "the database did not answer")
        self.leases.pop(lease_id, None)

    def is_token_alive(self, accessor: str) -> bool:
        self._called("is_token_alive")
        return accessor in self.tokens

    def end_token(self, accessor: str) -> None:
        self._called("end_token")
        self.tokens.pop(accessor, None)
        self.leases = {k: v for k, v in self.leases.items() if v.accessor != accessor}

    def close(self, tenant_id: str) -> None:
        self._called("close")

    def _called(self, what: str) -> None:
        self.calls.append(what)
        if self.down:
            raise ColibriError("source_unreachable", "the server did not answer")
        self._expire()

    def _expire(self) -> None:
        now = self.clock.now()
        for accessor in [a for a, token in self.tokens.items() if token.expires_at <= now]:
            del self.tokens[accessor]
        self.leases = {
            lease_id: lease
            for lease_id, lease in self.leases.items()
            if lease.expires_at > now and lease.accessor in self.tokens
        }

    def _by_text(self, token: SecretValue) -> str | None:
        text = token.reveal()
        return next((a for a, kept in self.tokens.items() if kept.text == text), None)

    def _may(self, accessor: str, request: Request) -> bool:
        """A tenant's paths end in its id or are everybody's; a token reads no other's."""
        last = request.path.rpartition("/")[2]
        return last in {"app", "static", self.tokens[accessor].tenant}
