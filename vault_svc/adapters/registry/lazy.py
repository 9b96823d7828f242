"""The registry as commands use it: SQLAlchemy only for a server, or a schema that is not ours."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypedDict

from vault_svc.adapters.registry import place
from vault_svc.adapters.registry.reader import SqliteReader
from vault_svc.adapters.registry.reads import Rows, TenantReads
from vault_svc.adapters.registry.reserve import RESERVE_BYTES, Reserve
from vault_svc.domain.audit import Head
from vault_svc.domain.receipt import Intent, Receipt, Removal
from vault_svc.domain.tenant import Tenant

if TYPE_CHECKING:
    from vault_svc.adapters.registry.writes import TenantWrites


class _Options(TypedDict):
    busy_timeout_seconds: float
    receipts_kept: int
    reserve_bytes: int


class LazyRegistry(TenantReads):
    """Registry that opens nothing before it is asked, and no more than it is asked for."""

    def __init__(
        self,
        url: str,
        path: str = "",
        *,
        busy_timeout_seconds: float = 10.0,
        receipts_kept: int = 100,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        """Take the URL, or without one the absolute path of an SQLite file."""
        self._url = url or place.sqlite_url(path)
        self._busy_timeout_seconds = busy_timeout_seconds
        self._receipts_kept = receipts_kept
        self._reserve_bytes = reserve_bytes
        self._reserve = Reserve(place.sqlite_path(self._url), reserve_bytes)
        self._reader: SqliteReader | None = None
        self._store: TenantWrites | None = None

    def initialise(self) -> bool:
        """Make the registry where there is none; say whether it was made."""
        path = place.sqlite_path(self._url)
        if path and place.exists(path):
            self.fetch("SELECT 1", {})
            return False
        from vault_svc.adapters.registry.create import create

        return create(self._url, busy_timeout_seconds=self._busy_timeout_seconds)

    def dispose(self) -> None:
        """Give every connection back."""
        if self._reader:
            self._reader.dispose()
        if self._store:
            self._store.dispose()
        self._reader = self._store = None

    def add(self, tenant: Tenant) -> None:
        """Insert a row; raise `tenant_exists`, `jail_taken` or `collection_taken`."""
        self.store.add(tenant)

    def update(self, tenant: Tenant, *, expected: Tenant) -> None:
        """Replace a row that still is as expected."""
        self.store.update(tenant, expected=expected)

    def announce(self, intents: Sequence[Intent]) -> None:
        """Record intents."""
        self.store.announce(intents)

    def commit(
        self,
        receipts: Sequence[Receipt],
        failures: Mapping[str, str],
        *,
        dropped: Collection[str] = (),
        head: Head | None = None,
    ) -> None:
        """Close a batch."""
        self.store.commit(receipts, failures, dropped=dropped, head=head)

    def close(self, tenant: Tenant, *, removal: Removal | None, head: Head | None) -> None:
        """Store a tenant's new status with the record of its removal."""
        self.store.close(tenant, removal=removal, head=head)

    def mirror(self, head: Head) -> None:
        """Store the audit head, never an older one."""
        self.store.mirror(head)

    def replace_digests(
        self,
        digests: Mapping[str, tuple[str, str]],
        parts: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> int:
        """Replace newest receipts' digests."""
        return self.store.replace_digests(digests, parts)

    @property
    def store(self) -> TenantWrites:
        """The writing side, opened (and migrated) now if it was not."""
        if self._store is None:
            self._store = self._reserve.spend(self._open_store)
        return self._store

    def _open_store(self) -> TenantWrites:
        options: _Options = {
            "busy_timeout_seconds": self._busy_timeout_seconds,
            "receipts_kept": self._receipts_kept,
            "reserve_bytes": self._reserve_bytes,
        }
        path = place.sqlite_path(self._url)
        if path:
            self._reader = self._reader or self._current_reader()
            if self._reader:  # it found the schema current
                from vault_svc.adapters.registry.sqlite_store import SqliteStore

                return SqliteStore(path, **options)
        from vault_svc.adapters.registry.store import SqlRegistry

        return SqlRegistry(self._url, **options)

    def fetch(self, sql: str, params: Mapping[str, Any]) -> Rows:
        """Return all rows of a SELECT, by the cheapest way that is open."""
        return self._reserve.lend(lambda: self._reading().fetch(sql, params))

    def _reading(self) -> SqliteReader | TenantWrites:
        if self._reader is None and self._store is None:
            self._reader = self._current_reader()
        return self._reader or self.store

    def _current_reader(self) -> SqliteReader | None:
        path = place.sqlite_path(self._url)
        if path is None:
            return None
        return SqliteReader.open_current(path, busy_timeout_seconds=self._busy_timeout_seconds)
