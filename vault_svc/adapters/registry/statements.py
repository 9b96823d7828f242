"""The registry's writing statements: portable between SQLite and PostgreSQL, values by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vault_svc.adapters.registry.lease_rows import LEASE_COLUMNS, TOKEN_COLUMNS, VARIABLE_COLUMNS
from vault_svc.adapters.registry.schema import DELIVERY_COLUMNS, INTENT_COLUMNS, TENANT_COLUMNS


def _insert(table: str, columns: Sequence[str]) -> str:
    values = ", ".join(f":{name}" for name in columns)
    return " ".join(("INSERT INTO", table, "(", ", ".join(columns), ") VALUES (", values, ")"))


ADD: Final = _insert("tenants", TENANT_COLUMNS)
ANNOUNCE: Final = _insert("intents", INTENT_COLUMNS)
RECORD: Final = _insert("deliveries", DELIVERY_COLUMNS)
MAP: Final = _insert("lease_variables", VARIABLE_COLUMNS)
RECORD_LEASE: Final = _insert("leases", LEASE_COLUMNS)
RECORD_TOKEN: Final = _insert("lease_tokens", TOKEN_COLUMNS)

FOUND: Final = " ".join(
    ("SELECT", ", ".join(TENANT_COLUMNS), "FROM tenants WHERE tenant_id = :tenant_id")
)
REPLACE: Final = " ".join(
    (
        "UPDATE tenants SET",
        ", ".join(f"{name} = :{name}" for name in TENANT_COLUMNS if name != "tenant_id"),
        "WHERE tenant_id = :tenant_id",
    )
)
EXISTS: Final = "SELECT 1 FROM tenants WHERE tenant_id = :t"

# The row's generation or another number, whichever is higher: MAX of two is not portable.
DELIVERED: Final = """
UPDATE tenants SET
    status = CASE WHEN status = 'registered' THEN 'active' ELSE status END,
    generation = CASE WHEN generation < :generation THEN :generation ELSE generation END,
    last_error = NULL, updated_at = :at
WHERE tenant_id = :t"""
FAILED: Final = "UPDATE tenants SET last_error = :line WHERE tenant_id = :t"
END_INTENTS: Final = "DELETE FROM intents WHERE tenant_id = :t"
ANNOUNCED: Final = "SELECT max(generation) FROM intents WHERE tenant_id = :t"
CLOSE: Final = """
UPDATE tenants SET
    status = :status, last_error = :line, updated_at = :at,
    generation = CASE WHEN generation < :generation THEN :generation ELSE generation END
WHERE tenant_id = :t AND (status <> 'offboarded' OR :final = 1)"""
# The newest record that is too many; NULL, which nothing is older than, while there is none.
PRUNE: Final = """
DELETE FROM deliveries WHERE tenant_id = :t AND id <= (
    SELECT id FROM deliveries WHERE tenant_id = :t ORDER BY id DESC LIMIT 1 OFFSET :kept)"""
MIRROR: Final = "UPDATE audit_head SET seq = :seq, mac = :mac WHERE seq < :seq"
REDIGEST: Final = """
UPDATE deliveries SET digest = :new, parts = :new_parts WHERE digest = :old
    AND id = (SELECT max(id) FROM deliveries WHERE tenant_id = :t)"""

UNMAP: Final = "DELETE FROM lease_variables WHERE tenant_id = :t AND variable = :name"
FORGET_LEASE: Final = "DELETE FROM leases WHERE key = :k"
FORGET_TOKEN: Final = "DELETE FROM lease_tokens WHERE accessor = :k"  # noqa: S105 - a statement
REPLACED_TOKENS: Final = "UPDATE lease_tokens SET live = FALSE WHERE tenant_id = :t"
