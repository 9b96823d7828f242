"""The registry's read side: its SQL and what becomes of the rows, once for every driver.

Every statement is portable between SQLite and PostgreSQL; parameters are `:name`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from vault_svc.adapters.registry.schema import (
    DELIVERY_COLUMNS,
    INTENT_COLUMNS,
    TENANT_COLUMNS,
    intent_of,
    record_of,
    tenant_of,
)
from vault_svc.domain.audit import Head
from vault_svc.domain.receipt import Intent, Receipt, Removal
from vault_svc.domain.tenant import Status, Tenant
from vault_svc.errors import ColibriError, printable

Rows = Sequence[Sequence[Any]]

# Far below the number of parameters that any SQLite (999) takes.
_CHUNK: Final = 500
_ALL: Final = 2**31 - 1
_TENANTS: Final = ("SELECT", ", ".join(TENANT_COLUMNS), "FROM tenants WHERE")
_RECORDS: Final = ("SELECT", ", ".join(DELIVERY_COLUMNS), "FROM deliveries WHERE")
_INTENTS: Final = ("SELECT", ", ".join(INTENT_COLUMNS), "FROM intents WHERE")
_OPEN: Final = "status <> 'offboarded'"


class TenantReads(ABC):
    """TenantReader over any driver that can run a SELECT."""

    @abstractmethod
    def fetch(self, sql: str, params: Mapping[str, Any]) -> Rows:
        """Return all rows of a SELECT; raise registry errors only."""

    def tenant(self, tenant_id: str) -> Tenant:
        """Return the row; raise `tenant_not_found`, whose hint lists the nearest ids."""
        # Arguments that are no UTF-8 reach us as surrogates, which no driver takes.
        known = tenant_id.isascii()
        rows = self.fetch(_sql(*_TENANTS, "tenant_id = :t"), {"t": tenant_id}) if known else ()
        if not rows:
            raise self._not_found(tenant_id)
        return tenant_of(rows[0])

    def rows(self, tenant_ids: Collection[str]) -> dict[str, Tenant]:
        """Return the named rows; unknown ids are left out."""
        found = self.each(tenant_ids, *_TENANTS, "tenant_id IN", "$ids")
        return {row[0]: tenant_of(row) for row in found}

    def tenants(
        self,
        *,
        host: str | None = None,
        status: Status | None = None,
        after: str = "",
        limit: int | None = None,
    ) -> list[Tenant]:
        """Return rows by tenant_id ascending, strictly after `after`, at most limit."""
        # Ids are ASCII: what is none comes after all of them, and may be no UTF-8 (see tenant()).
        cursor = after if after.isascii() else "\x7f"
        parts, params = [*_TENANTS, "tenant_id > :after"], dict[str, Any](after=cursor)
        for name, value in (("host", host), ("status", status and str(status))):
            if value is not None:
                parts.append(f"AND {name} = :{name}")
                params[name] = value
        parts.append("ORDER BY tenant_id")
        if limit is not None:
            parts.append("LIMIT :limit")
            params["limit"] = min(limit, _ALL)
        return [tenant_of(row) for row in self.fetch(_sql(*parts), params)]

    def by_jail(self, host: str, jail: str) -> Tenant | None:
        """Return the row of this host's jail that is not offboarded, if there is one."""
        sql = _sql(*_TENANTS, "host = :host AND jail = :jail AND", _OPEN)
        return _first(self.fetch(sql, {"host": host, "jail": jail}))

    def by_collection(self, source: str, collection_id: str) -> Tenant | None:
        """Return the row of this collection that is not offboarded, if there is one."""
        sql = _sql(*_TENANTS, "source = :source AND collection_id = :collection_id AND", _OPEN)
        return _first(self.fetch(sql, {"source": source, "collection_id": collection_id}))

    def by_root(self, root: str) -> list[Tenant]:
        """Return rows of every host, not offboarded, whose jail root is root."""
        sql = _sql(*_TENANTS, "jail_root = :root AND", _OPEN, "ORDER BY tenant_id")
        return [tenant_of(row) for row in self.fetch(sql, {"root": root})]

    def roots_around(self, host: str, root: str) -> list[Tenant]:
        """Return rows, not offboarded, whose jail root is, contains or lies in root."""
        root = root.rstrip("/")
        above = ["/", *(root[:i] for i, c in enumerate(root) if c == "/" and i), root]
        names = {f"a{i}": path for i, path in enumerate(above)}
        sql = _sql(
            *_TENANTS,
            "host = :host AND",
            _OPEN,
            # Beneath: from root + "/" to just before the character after "/".
            "AND jail_root <> '' AND ((jail_root >= :low AND jail_root < :high) OR jail_root IN",
            _placeholders(names),
            ") ORDER BY tenant_id",
        )
        params = {"host": host, "low": root + "/", "high": root + "0", **names}
        return [tenant_of(row) for row in self.fetch(sql, params)]

    def newest(self, tenant_ids: Collection[str]) -> dict[str, Receipt | Removal]:
        """Return each tenant's newest record; tenants without one are left out."""
        found = self.each(
            tenant_ids,
            *_RECORDS,
            # One index look-up a tenant, however many records it has.
            "id IN (SELECT (SELECT max(d.id) FROM deliveries d WHERE d.tenant_id = t.tenant_id)",
            "FROM tenants t WHERE t.tenant_id IN",
            "$ids",
            ")",
        )
        return {row[0]: record_of(row) for row in found}

    def history(self, tenant_id: str, limit: int) -> list[Receipt | Removal]:
        """Return a tenant's records, newest first."""
        sql = _sql(*_RECORDS, "tenant_id = :t ORDER BY id DESC LIMIT :limit")
        return [record_of(row) for row in self.fetch(sql, {"t": tenant_id, "limit": limit})]

    def open_intents(self, tenant_ids: Collection[str]) -> dict[str, tuple[Intent, ...]]:
        """Return intents without a receipt; tenants without one are left out."""
        tail = ("tenant_id IN", "$ids", "ORDER BY tenant_id, generation")
        found: dict[str, tuple[Intent, ...]] = {}
        for row in self.each(tenant_ids, *_INTENTS, *tail):
            found[row[0]] = (*found.get(row[0], ()), intent_of(row))
        return found

    def audit_head(self) -> Head | None:
        """Return the mirrored head of the audit log."""
        rows = self.fetch("SELECT seq, mac FROM audit_head WHERE seq > 0", {})
        return Head(*rows[0]) if rows else None

    def each(self, ids: Collection[str], *parts: str) -> Iterator[Sequence[Any]]:
        """Run a statement over ids, which stand where parts say `$ids`, in chunks."""
        unique = list(dict.fromkeys(ids))
        for start in range(0, len(unique), _CHUNK):
            names = {f"i{n}": value for n, value in enumerate(unique[start : start + _CHUNK])}
            inlined = (_placeholders(names) if part == "$ids" else part for part in parts)
            yield from self.fetch(_sql(*inlined), names)

    def _not_found(self, tenant_id: str) -> ColibriError:
        import difflib

        ids = [row[0] for row in self.fetch("SELECT tenant_id FROM tenants", {})]
        near = difflib.get_close_matches(tenant_id, ids)
        return ColibriError(
            "tenant_not_found",
            f"there is no tenant '{printable(tenant_id[:64])}'",
            hint=f"did you mean {', '.join(near)}?" if near else "colibri list-tenants",
            tenant=tenant_id[:64],
        )


def _sql(*parts: str) -> str:
    """Join constant pieces; values always travel as parameters."""
    return " ".join(parts)


def _placeholders(names: Mapping[str, str]) -> str:
    return "(" + ", ".join(f":{name}" for name in names) + ")"


def _first(rows: Rows) -> Tenant | None:
    return tenant_of(rows[0]) if rows else None
