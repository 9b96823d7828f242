"""A server that gives credentials on lease."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from vault_svc.domain.lease import Request
from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError


@dataclass(frozen=True, slots=True, eq=False)
class Grant:
    """A tenant's new periodic token; it ends by itself seconds after its last renewal."""

    accessor: str
    token: SecretValue = field(repr=False)
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Issued:
    """What one read of a leased path gave: each asked field's value, and how long it is good.

    lease_id is empty for what has no lease (certificates): then seconds is what its notAfter
    leaves. refused: why a lease that was made cannot be used, so that it can be ended.
    """

    lease_id: str
    values: Mapping[str, SecretValue] = field(repr=False)
    seconds: float
    renewable: bool
    refused: ColibriError | None = None


@dataclass(frozen=True, slots=True)
class Renewed:
    """How long a lease is good from now on, in seconds."""

    seconds: float
    renewable: bool


class LeaseSource(Protocol):
    """Every method raises the source's codes (`source_unreachable`, `source_sealed`, …).

    None, or False, is the server's own verdict: it does not honour this lease or token.
    """

    def grant(self, tenant_id: str) -> Grant:
        """Mint a token that can read this tenant's leased paths and nothing else."""
        ...

    def renew_token(self, token: SecretValue) -> float | None:
        """Renew a tenant's token; return its seconds, None for one that is dead."""
        ...

    def issue(self, token: SecretValue, request: Request) -> Issued:
        """Ask for a lease; raise `source_forbidden`, `lease_refused`, `lease_missing`: none made.

        After any other error there may be one that nobody was told of.
        """
        ...

    def renew(self, token: SecretValue, lease_id: str, seconds: float) -> Renewed | None:
        """Renew a lease by seconds; None where the server refuses to."""
        ...

    def is_alive(self, lease_id: str) -> bool:
        """Look a lease up."""
        ...

    def end(self, lease_id: str) -> None:
        """End a lease before this returns; ending what is over is done already."""
        ...

    def is_token_alive(self, accessor: str) -> bool:
        """Look a token up."""
        ...

    def end_token(self, accessor: str) -> None:
        """End a token and every lease it made; ending what is over is done already."""
        ...

    def close(self, tenant_id: str) -> None:
        """Take away what lets a tenant be granted tokens; the tenant leaves for good."""
        ...
