"""One provisioner per tenant at a time, across processes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class TenantLocks(Protocol):
    """Locks that the kernel gives back when a process dies."""

    def hold(
        self, tenant_id: str, *, wait: bool = True, until: float | None = None
    ) -> AbstractContextManager[None]:
        """Hold a tenant's lock; raise `busy` when another process keeps it past the limit.

        Without wait the limit is zero: a batch never waits for one of its tenants. until is a
        time of the clock's monotonic() that several holds share as theirs.
        """
        ...
