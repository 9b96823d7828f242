"""The registry's write side: its transactions, once for every driver."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import Any, Protocol

from vault_svc.adapters.registry import statements
from vault_svc.adapters.registry.reads import Rows, TenantReads
from vault_svc.adapters.registry.reserve import Reserve
from vault_svc.adapters.registry.schema import (
    intent_row,
    parts_text,
    record_row,
    tenant_of,
    tenant_row,
)
from vault_svc.domain.audit import Head
from vault_svc.domain.receipt import Intent, Receipt, Removal
from vault_svc.domain.tenant import Status, Tenant
from vault_svc.errors import ColibriError


class BrokenConstraintError(Exception):
    """The database refused what it was told to store; told is what to say if nobody knows why."""

    def __init__(self, told: ColibriError) -> None:
        """Take the registry error that stands for it."""
        super().__init__(told.code)
        self.told = told


class Transaction(Protocol):
    """One transaction of any driver."""

    def run(self, sql: str, *rows: Mapping[str, Any]) -> int:
        """Run a statement once a row of values; return how many rows it changed."""

    def select(self, sql: str, params: Mapping[str, Any]) -> Rows:
        """Return all rows of a SELECT."""


class TenantWrites(TenantReads):
    """Registry over any driver; every method is one transaction, synced when it returns."""

    row_lock: str = ""
    """What a SELECT needs at its end to keep its rows as they are."""

    def __init__(self, reserve: Reserve, receipts_kept: int) -> None:
        """Take the space kept for removals, and how many records of a tenant stay."""
        self._reserve = reserve
        self._kept = receipts_kept

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Transaction]:
        """Begin a writing transaction, committed and synced when the block ends well.

        Raises BrokenConstraintError, else registry errors only.
        """

    @abstractmethod
    def dispose(self) -> None:
        """Give every connection back."""

    def add(self, tenant: Tenant) -> None:
        """Insert a row; raise `tenant_exists`, `jail_taken` or `collection_taken`."""
        try:
            with self._writing() as work:
                work.run(statements.ADD, tenant_row(tenant))
        except BrokenConstraintError as error:
            raise self._conflict(tenant, error, fresh=True) from None

    def update(self, tenant: Tenant, *, expected: Tenant) -> None:
        """Replace a row that still is as expected; raise `busy` if it is not, or as add."""
        values = tenant_row(tenant)
        mine = {"tenant_id": tenant.tenant_id}
        try:
            with self._writing() as work:
                found = work.select(statements.FOUND + self.row_lock, mine)
                if not found:
                    raise self._not_found(tenant.tenant_id)
                if tenant_of(found[0]) != expected:
                    raise _changed_meanwhile(tenant.tenant_id)
                work.run(statements.REPLACE, values)
        except BrokenConstraintError as error:
            raise self._conflict(tenant, error, fresh=False) from None

    def announce(self, intents: Sequence[Intent]) -> None:
        """Record intents, before the audit lines and the writes they announce."""
        if not intents:
            return
        try:
            with self._writing() as work:
                work.run(statements.ANNOUNCE, *map(intent_row, intents))
        except BrokenConstraintError:
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
        ended = [*(receipt.tenant_id for receipt in receipts), *dropped]
        errors = [{"t": t, "line": line or None} for t, line in failures.items()]
        try:
            with self._writing() as work:
                work.run(statements.RECORD, *map(record_row, receipts))
                work.run(statements.DELIVERED, *map(_delivered, receipts))
                work.run(statements.END_INTENTS, *({"t": t} for t in ended))
                work.run(statements.PRUNE, *self._prunings(receipts))
                work.run(statements.FAILED, *errors)
                _mirror(work, head)
        except BrokenConstraintError:
            raise self._unknown([receipt.tenant_id for receipt in receipts]) from None

    def close(self, tenant: Tenant, *, removal: Removal | None, head: Head | None) -> None:
        """Store a tenant's new status with the record of its removal, and close its intents.

        The row's generation rises past that of every intent it closes, so that no number is
        announced twice. An offboarded row stays offboarded (`tenant_offboarded`).
        """
        self._reserve.spend(lambda: self._close(tenant, removal, head))

    def _close(self, tenant: Tenant, removal: Removal | None, head: Head | None) -> None:
        mine = {"t": tenant.tenant_id}
        with self.transaction() as work:
            announced = work.select(statements.ANNOUNCED, mine)[0][0] or 0
            if not work.run(statements.CLOSE, _closing(tenant, announced)):
                if not work.select(statements.EXISTS, mine):
                    raise self._not_found(tenant.tenant_id)
                raise _offboarded(tenant)
            work.run(statements.END_INTENTS, mine)
            if removal:
                work.run(statements.RECORD, record_row(removal))
                work.run(statements.PRUNE, *self._prunings([removal]))
            _mirror(work, head)

    def mirror(self, head: Head) -> None:
        """Store the audit head, never an older one."""
        self._reserve.lend(lambda: self._mirror(head))

    def _mirror(self, head: Head) -> None:
        with self.transaction() as work:
            _mirror(work, head)

    def replace_digests(
        self,
        digests: Mapping[str, tuple[str, str]],
        parts: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> int:
        """Replace newest receipts' digests, tenant → (old, new), where old still stands.

        parts: the files' own digests that go with the new one.
        """
        rows = (
            {"t": t, "old": old, "new": new, "new_parts": parts_text(parts.get(t, ()))}
            for t, (old, new) in digests.items()
        )
        with self._writing() as work:
            return sum(work.run(statements.REDIGEST, row) for row in rows)

    def replace_lease_variables(
        self, tenant_id: str, gone: Sequence[str], rows: list[dict[str, Any]]
    ) -> None:
        """Remove a tenant's mappings by name and add others, in one step."""
        with self._writing() as work:
            work.run(statements.UNMAP, *({"t": tenant_id, "name": name} for name in gone))
            work.run(statements.MAP, *rows)

    def record_leases(self, leases: list[dict[str, Any]], tokens: list[dict[str, Any]]) -> None:
        """Store rows of leases and tokens, new or changed; a live token is its tenant's only."""
        replaced = [{"t": row["tenant_id"]} for row in tokens if row["live"]]
        with self._writing() as work:
            work.run(statements.FORGET_LEASE, *({"k": row["key"]} for row in leases))
            work.run(statements.RECORD_LEASE, *leases)
            work.run(statements.REPLACED_TOKENS, *replaced)
            work.run(statements.FORGET_TOKEN, *({"k": row["accessor"]} for row in tokens))
            work.run(statements.RECORD_TOKEN, *tokens)

    def forget_leases(self, leases: Sequence[str], tokens: Sequence[str]) -> None:
        """Remove leases by key and tokens by accessor; works on a full disk."""
        self._reserve.spend(lambda: self._forget(leases, tokens))

    def _forget(self, leases: Sequence[str], tokens: Sequence[str]) -> None:
        with self.transaction() as work:
            work.run(statements.FORGET_LEASE, *({"k": key} for key in leases))
            work.run(statements.FORGET_TOKEN, *({"k": accessor} for accessor in tokens))

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        """Begin a transaction that adds: what is kept for removals must be whole first."""
        self._reserve.keep()
        with self.transaction() as work:
            yield work

    def _prunings(self, records: Sequence[Receipt | Removal]) -> list[dict[str, Any]]:
        return [{"t": record.tenant_id, "kept": self._kept} for record in records]

    def _conflict(
        self, tenant: Tenant, error: BrokenConstraintError, *, fresh: bool
    ) -> ColibriError:
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
        return error.told

    def _unknown(self, tenant_ids: Sequence[str]) -> ColibriError:
        known = self.rows(tenant_ids)
        for tenant_id in tenant_ids:
            if tenant_id not in known:
                return self._not_found(tenant_id)
        return _changed_meanwhile(tenant_ids[0])


def _delivered(receipt: Receipt) -> dict[str, Any]:
    return {"t": receipt.tenant_id, "generation": receipt.generation, "at": receipt.at}


def _closing(tenant: Tenant, announced: int) -> dict[str, Any]:
    return {
        "t": tenant.tenant_id,
        "status": str(tenant.status),
        "final": int(tenant.status is Status.OFFBOARDED),
        "generation": max(tenant.generation, announced),
        "line": tenant.last_error,
        "at": tenant.updated_at,
    }


def _mirror(work: Transaction, head: Head | None) -> None:
    if head:
        work.run(statements.MIRROR, {"seq": head.seq, "mac": head.mac})


def _offboarded(tenant: Tenant) -> ColibriError:
    return ColibriError(
        "tenant_offboarded",
        f"tenant '{tenant.tenant_id}' is offboarded, its id is not used again",
        hint="register a new tenant id",
        tenant=tenant.tenant_id,
    )


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
