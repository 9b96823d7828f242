"""Where mappings, leases and tenants' tokens are recorded, and where the tokens lie sealed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from vault_svc.domain.lease import Lease, LeasedVariable, LeaseToken, Standing
from vault_svc.domain.secret import SecretValue


class LeaseBook(Protocol):
    """Rows without values; each writing method is one transaction, durable when it returns."""

    def tenants(self) -> tuple[str, ...]:
        """Return the ids of tenants that have a mapping, a lease or a token; sorted."""
        ...

    def standings(self, tenant_ids: Collection[str]) -> Mapping[str, Standing]:
        """Return what there is of each tenant; those with nothing are left out."""
        ...

    def change_variables(
        self, tenant_id: str, add: Sequence[LeasedVariable], remove: Collection[str]
    ) -> None:
        """Add and remove mappings; an added one replaces the one of its name."""
        ...

    def record(self, leases: Sequence[Lease] = (), tokens: Sequence[LeaseToken] = ()) -> None:
        """Store leases by their key and tokens by their accessor, new or changed.

        A token stored as live is the tenant's only one: the others are not any more.
        """
        ...

    def forget(self, leases: Collection[str] = (), tokens: Collection[str] = ()) -> None:
        """Remove what has ended: leases by key, tokens by accessor. Works on a full disk."""
        ...


class SealedTokens(Protocol):
    """Tenants' lease tokens, each sealed under the host's age identity."""

    def put(self, tenant_id: str, accessor: str, token: SecretValue) -> None:
        """Keep a tenant's token, durably, in place of the one before."""
        ...

    def get(self, tenant_id: str, accessor: str) -> SecretValue | None:
        """Return the token of this accessor; None if it is not there or cannot be opened."""
        ...

    def drop(self, tenant_id: str) -> None:
        """Remove a tenant's token; removing what is not there is done already."""
        ...
