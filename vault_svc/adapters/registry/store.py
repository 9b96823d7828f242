"""The whole registry over SQLAlchemy Core: SQLite, or PostgreSQL behind a URL."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sqlalchemy import TextClause, insert, select, text
from sqlalchemy.exc import IntegrityError

from vault_svc.adapters.registry import migrate, place, writes
from vault_svc.adapters.registry.connect import open_engine, translated, translating
from vault_svc.adapters.registry.reads import Rows, TenantReads
from vault_svc.adapters.registry.reserve import RESERVE_BYTES, Reserve
from vault_svc.adapters.registry.schema import (
    SCHEMA_VERSION,
    TENANT_COLUMNS,
    intent_row,
    parts_text,
    record_row,
    tenant_of,
    tenant_row,
)
from vault_svc.adapters.registry.writes import TENANTS
from vault_svc.domain.audit import Head
from vault_svc.domain.receipt import Intent, Receipt, Removal
from vault_svc.domain.tenant import Tenant
from vault_svc.errors import ColibriError

if TYPE_CHECKING:
    from sqlalchemy import Connection


class SqlRegistry(TenantReads):
    """Registry over one URL; every writing method is one transaction, synced when it returns."""

    def __init__(
        self,
        url: str,
        *,
        busy_timeout_seconds: float = 10.0,
        receipts_kept: int = 100,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        """Open, and migrate where the schema is older; `create.create` makes a registry.

        Raises `usage` (not initialised), `registry_corrupt`, `registry_newer`, `busy`,
        `no_space`, `read_only`.
        """
        self._where = place.sqlite_path(url) or url.rpartition("@")[2]
        self._kept = receipts_kept
        self._reserve = Reserve(place.sqlite_path(url), reserve_bytes)
        self._engine = open_engine(url, busy_timeout_seconds=busy_timeout_seconds)
        try:
            self._bring_current()
        except BaseException:
            self._engine.dispose()
            raise

    def dispose(self) -> None:
        """Give every connection back."""
        self._engine.dispose()

    def add(self, tenant: Tenant) -> None:
        """Insert a row; raise `tenant_exists`, `jail_taken` or `collection_taken`."""
        try:
            with self._writing() as connection:
                connection.execute(insert(TENANTS), tenant_row(tenant))
        except IntegrityError as error:
            raise self._conflict(tenant, error, fresh=True) from None

    def update(self, tenant: Tenant, *, expected: Tenant) -> None:
        """Replace a row that still is as expected; raise `busy` if it is not, or as add."""
        columns = [TENANTS.c[name] for name in TENANT_COLUMNS]
        mine = TENANTS.c.tenant_id == tenant.tenant_id
        try:
            with self._writing() as connection:
                found = connection.execute(select(*columns).where(mine).with_for_update()).first()
                if found is None:
                    raise self._not_found(tenant.tenant_id)
                if tenant_of(found) != expected:
                    raise _changed_meanwhile(tenant.tenant_id)
                connection.execute(TENANTS.update().where(mine), tenant_row(tenant))
        except IntegrityError as error:
            raise self._conflict(tenant, error, fresh=False) from None

    def announce(self, intents: Sequence[Intent]) -> None:
        """Record intents, before the audit lines and the writes they announce."""
        if not intents:
            return
        try:
            with self._writing() as connection:
                connection.execute(writes.ANNOUNCE, [intent_row(intent) for intent in intents])
        except IntegrityError:
            raise self._unknown([intent.tenant_id for intent in intents]) from None

    def commit(
        self,
        receipts: Sequence[Receipt],
        failures: Mapping[str, str],
        *,
        dropped: Collection[str] = (),
        head: Head | None = None,
    ) -> None:
        """Close a batch in one transaction; see the port."""
        try:
            with self._writing() as connection:
                _many(connection, writes.RECORD, [record_row(receipt) for receipt in receipts])
                _many(connection, writes.DELIVERED, [_delivered(receipt) for receipt in receipts])
                ended = [*(receipt.tenant_id for receipt in receipts), *dropped]
                _many(connection, writes.END_INTENTS, [{"t": t} for t in ended])
                _many(connection, writes.PRUNE, self._prunings(receipts))
                errors = [{"t": t, "line": line or None} for t, line in failures.items()]
                _many(connection, writes.FAILED, errors)
                _mirror(connection, head)
        except IntegrityError:
            raise self._unknown([receipt.tenant_id for receipt in receipts]) from None

    def close(self, tenant: Tenant, *, removal: Removal | None, head: Head | None) -> None:
        """Store a tenant's new status with the record of its removal, and close its intents.

        The row's generation rises past that of every intent it closes, so that no number is
        announced twice. An offboarded row stays offboarded (`tenant_offboarded`).
        """
        self._reserve.spend(lambda: self._close(tenant, removal, head))

    def _close(self, tenant: Tenant, removal: Removal | None, head: Head | None) -> None:
        with self._transaction() as connection:
            done = connection.execute(writes.CLOSE, _closing(tenant)).rowcount
            if not done:
                raise self._closed_already(connection, tenant)
            connection.execute(writes.END_INTENTS, {"t": tenant.tenant_id})
            if removal:
                connection.execute(writes.RECORD, record_row(removal))
                connection.execute(writes.PRUNE, self._prunings([removal]))
            _mirror(connection, head)

    def mirror(self, head: Head) -> None:
        """Store the audit head, never an older one."""
        self._reserve.spend(lambda: self._mirror(head))

    def _mirror(self, head: Head) -> None:
        with self._transaction() as connection:
            _mirror(connection, head)

    def replace_digests(
        self,
        digests: Mapping[str, tuple[str, str]],
        parts: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> int:
        """Replace newest receipts' digests, tenant → (old, new), where old still stands.

        parts: the files' own digests that go with the new one.
        """
        with self._writing() as connection:
            return sum(
                connection.execute(
                    writes.REDIGEST,
                    {"t": t, "old": old, "new": new, "new_parts": parts_text(parts.get(t, ()))},
                ).rowcount
                for t, (old, new) in digests.items()
            )

    def replace_lease_variables(
        self, tenant_id: str, gone: Sequence[str], rows: list[dict[str, Any]]
    ) -> None:
        """Remove a tenant's mappings by name and add others, in one step."""
        with self._writing() as connection:
            _many(connection, writes.UNMAP, [{"t": tenant_id, "name": name} for name in gone])
            _many(connection, writes.MAP, rows)

    def record_leases(self, leases: list[dict[str, Any]], tokens: list[dict[str, Any]]) -> None:
        """Store rows of leases and tokens, new or changed; a live token is its tenant's only."""
        with self._writing() as connection:
            _many(connection, writes.FORGET_LEASE, [{"k": row["key"]} for row in leases])
            _many(connection, writes.RECORD_LEASE, leases)
            replaced = [{"t": row["tenant_id"]} for row in tokens if row["live"]]
            _many(connection, writes.REPLACED_TOKENS, replaced)
            _many(connection, writes.FORGET_TOKEN, [{"k": row["accessor"]} for row in tokens])
            _many(connection, writes.RECORD_TOKEN, tokens)

    def forget_leases(self, leases: Sequence[str], tokens: Sequence[str]) -> None:
        """Remove leases by key and tokens by accessor; works on a full disk."""
        self._reserve.spend(lambda: self._forget(leases, tokens))

    def _forget(self, leases: Sequence[str], tokens: Sequence[str]) -> None:
        with self._transaction() as connection:
            _many(connection, writes.FORGET_LEASE, [{"k": key} for key in leases])
            _many(connection, writes.FORGET_TOKEN, [{"k": accessor} for accessor in tokens])

    def fetch(self, sql: str, params: Mapping[str, Any]) -> Rows:
        """Return all rows of a SELECT."""
        with translating(self._where), self._engine.connect() as connection:
            return connection.execute(_text(sql), params).all()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Begin a transaction that adds: what is kept for removals must be whole first."""
        self._reserve.keep()
        with self._transaction() as connection:
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with translating(self._where), self._engine.connect() as connection:
            writer = connection.execution_options(writes=True)
            with writer.begin():
                yield writer

    def _bring_current(self) -> None:
        with translating(self._where), self._engine.connect() as connection:
            if migrate.current_version(connection, self._where) == SCHEMA_VERSION:
                return
        with self._transaction() as connection:
            migrate.bring_current(connection, self._where)

    def _prunings(self, records: Sequence[Receipt | Removal]) -> list[dict[str, Any]]:
        return [{"t": record.tenant_id, "kept": self._kept} for record in records]

    def _conflict(self, tenant: Tenant, error: IntegrityError, *, fresh: bool) -> ColibriError:
        """Say which row keeps tenant out; the database only says that one does."""
        mine = tenant.tenant_id
        if fresh and self.rows([mine]):
            hint = f"colibri show-tenant {mine}; ids are never used again"
            return ColibriError("tenant_exists", f"tenant '{mine}' exists already", hint=hint)
        holder = self.by_jail(tenant.host, tenant.jail)
        if holder and holder.tenant_id != mine:
            what = f"jail '{tenant.jail}' on host '{tenant.host}'"
            return _taken("jail_taken", what, holder.tenant_id)
        holder = self.by_collection(tenant.source, tenant.collection_id or "")
        if holder and holder.tenant_id != mine:
            what = f"collection '{tenant.collection}' of source '{tenant.source}'"
            return _taken("collection_taken", what, holder.tenant_id)
        return translated(error, self._where)

    def _unknown(self, tenant_ids: Sequence[str]) -> ColibriError:
        known = self.rows(tenant_ids)
        for tenant_id in tenant_ids:
            if tenant_id not in known:
                return self._not_found(tenant_id)
        return _changed_meanwhile(tenant_ids[0])

    def _closed_already(self, connection: Connection, tenant: Tenant) -> ColibriError:
        row = TENANTS.c.tenant_id == tenant.tenant_id
        if connection.execute(select(TENANTS.c.status).where(row)).first() is None:
            return self._not_found(tenant.tenant_id)
        return ColibriError(
            "tenant_offboarded",
            f"tenant '{tenant.tenant_id}' is offboarded, its id is not used again",
            hint="register a new tenant id",
            tenant=tenant.tenant_id,
        )


@lru_cache(maxsize=256)
def _text(sql: str) -> TextClause:
    return text(sql)


def _many(connection: Connection, statement: Any, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(statement, rows)


def _delivered(receipt: Receipt) -> dict[str, Any]:
    return {"t": receipt.tenant_id, "new_generation": receipt.generation, "at": receipt.at}


def _closing(tenant: Tenant) -> dict[str, Any]:
    return {
        "t": tenant.tenant_id,
        "new_status": str(tenant.status),
        "new_generation": tenant.generation,
        "line": tenant.last_error,
        "at": tenant.updated_at,
    }


def _mirror(connection: Connection, head: Head | None) -> None:
    if head:
        connection.execute(writes.MIRROR, {"new_seq": head.seq, "new_mac": head.mac})


def _changed_meanwhile(tenant_id: str) -> ColibriError:
    return ColibriError(
        "busy",
        f"tenant '{tenant_id}' was changed by another process meanwhile",
        hint="run it again",
        tenant=tenant_id,
    )


def _taken(code: str, what: str, holder: str) -> ColibriError:
    return ColibriError(
        code, f"{what} belongs to tenant '{holder}'", hint=f"colibri show-tenant {holder}"
    )
