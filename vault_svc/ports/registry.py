"""Tenants, receipts and open intents."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from vault_svc.domain.audit import Head
from vault_svc.domain.receipt import Intent, Receipt, Removal
from vault_svc.domain.tenant import Status, Tenant


class TenantReader(Protocol):
    """The read side, cheap to open: commands that only look need nothing else."""

    def tenant(self, tenant_id: str) -> Tenant:
        """Return the row; raise `tenant_not_found`, whose hint lists the nearest ids."""
        ...

    def rows(self, tenant_ids: Collection[str]) -> Mapping[str, Tenant]:
        """Return the named rows; unknown ids are left out."""
        ...

    def tenants(
        self,
        *,
        host: str | None = None,
        status: Status | None = None,
        after: str = "",
        limit: int | None = None,
    ) -> list[Tenant]:
        """Return rows by tenant_id ascending, strictly after `after`, at most limit."""
        ...

    def by_jail(self, host: str, jail: str) -> Tenant | None:
        """Return the row of this host's jail that is not offboarded, if there is one."""
        ...

    def by_collection(self, source: str, collection_id: str) -> Tenant | None:
        """Return the row of this collection that is not offboarded, if there is one."""
        ...

    def by_root(self, root: str) -> list[Tenant]:
        """Return rows of every host, not offboarded, whose jail root is root."""
        ...

    def roots_around(self, host: str, root: str) -> list[Tenant]:
        """Return rows, not offboarded, whose jail root is, contains or lies in root."""
        ...

    def newest(self, tenant_ids: Collection[str]) -> Mapping[str, Receipt | Removal]:
        """Return each tenant's newest record; tenants without one are left out."""
        ...

    def history(self, tenant_id: str, limit: int) -> list[Receipt | Removal]:
        """Return a tenant's records, newest first."""
        ...

    def open_intents(self, tenant_ids: Collection[str]) -> Mapping[str, tuple[Intent, ...]]:
        """Return intents without a receipt; tenants without one are left out."""
        ...

    def audit_head(self) -> Head | None:
        """Return the mirrored head of the audit log."""
        ...


class Registry(TenantReader, Protocol):
    """The write side; each method is one transaction."""

    def add(self, tenant: Tenant) -> None:
        """Insert a row; raise `tenant_exists`, `jail_taken` or `collection_taken`."""
        ...

    def update(self, tenant: Tenant, *, expected: Tenant) -> None:
        """Replace a row that still is as expected; raise `busy` if it is not, or as add."""
        ...

    def announce(self, intents: Sequence[Intent]) -> None:
        """Record intents, before the audit lines and the writes they announce."""
        ...

    def commit(
        self,
        receipts: Sequence[Receipt],
        failures: Mapping[str, str],
        *,
        dropped: Collection[str] = (),
        head: Head | None = None,
    ) -> None:
        """Close a batch: receipts, status `active`, generation, last_error, the audit head.

        A receipt closes its tenant's intents and clears last_error. failures maps tenants to
        one line (empty: clear it) and touches nothing but last_error. dropped: tenants whose
        intents are closed without a receipt because nothing was placed. Status changes only
        from `registered`.
        """
        ...

    def close(self, tenant: Tenant, *, removal: Removal | None, head: Head | None) -> None:
        """Store a tenant's new status with the record of its removal, and close its intents."""
        ...

    def mirror(self, head: Head) -> None:
        """Store the audit head, never an older one."""
        ...

    def replace_digests(
        self,
        digests: Mapping[str, tuple[str, str]],
        parts: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> int:
        """Replace newest receipts' digests, tenant → (old, new), where old still stands.

        parts: the files' own digests that go with the new one.
        """
        ...
