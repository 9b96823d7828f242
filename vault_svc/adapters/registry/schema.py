"""What both ways into the registry share: version, columns, rows; standard library only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any, Final

from vault_svc.domain.receipt import Intent, Receipt, Removal
from vault_svc.domain.tenant import Status, Tenant
from vault_svc.errors import ColibriError

SCHEMA_VERSION: Final = 3
"""The version this code reads and writes; equals the number of the newest migration."""

APPLICATION_ID: Final = 0x636F6C69
"""`coli`, in the header of every SQLite registry: never migrate somebody else's database."""

TENANT_COLUMNS: Final = tuple(field.name for field in fields(Tenant))
DELIVERY_COLUMNS: Final = (
    "tenant_id",
    "generation",
    "path",
    "keys",
    "digest",
    "mode",
    "uid",
    "gid",
    "size",
    "changed",
    "at",
    "source_revision",
    "elapsed_ms",
    "parts",
    "kind",
    "existed",
)
INTENT_COLUMNS: Final = ("tenant_id", "generation", "digest", "keys", "at")

DELIVERED: Final = "delivered"
REMOVED: Final = "removed"

_STATUS: Final = {str(status): status for status in Status}
_SIGNED: Final = 1 << 63

_MOUNTS: Final = TENANT_COLUMNS.index("mounts")
_STATUS_AT: Final = TENANT_COLUMNS.index("status")
_UID_AT: Final = TENANT_COLUMNS.index("owner_uid")
_GID_AT: Final = TENANT_COLUMNS.index("owner_gid")
_GENERATION_AT: Final = TENANT_COLUMNS.index("generation")


def tenant_row(tenant: Tenant) -> dict[str, Any]:
    """Return a tenant as column values."""
    row = {name: getattr(tenant, name) for name in TENANT_COLUMNS}
    row["mounts"] = json.dumps(tenant.mounts)
    row["status"] = str(tenant.status)
    row["root_ino"] = _signed(tenant.root_ino)
    return row


def tenant_of(row: Sequence[Any]) -> Tenant:
    """Return the tenant of a row in the order of TENANT_COLUMNS."""
    values = list(row)
    try:
        values[_MOUNTS] = _strings(values[_MOUNTS])
        values[_STATUS_AT] = _STATUS[values[_STATUS_AT]]
        _whole(values[_UID_AT], values[_GID_AT], values[_GENERATION_AT])
    except (KeyError, TypeError, ValueError):
        raise _spoiled("tenants", row[0]) from None
    if values[-1] is not None and values[-1] < 0:
        values[-1] += 2 * _SIGNED
    return Tenant(*values)


def record_row(record: Receipt | Removal) -> dict[str, Any]:
    """Return a receipt or removal as column values; what it has not is NULL."""
    row: dict[str, Any] = dict.fromkeys(DELIVERY_COLUMNS)
    for field in fields(record):
        row[field.name] = getattr(record, field.name)
    row["kind"] = DELIVERED if isinstance(record, Receipt) else REMOVED
    if isinstance(record, Receipt):
        row["keys"] = json.dumps(record.keys)
        row["parts"] = parts_text(record.parts)
    return row


def record_of(row: Sequence[Any]) -> Receipt | Removal:
    """Return the record of a row in the order of DELIVERY_COLUMNS."""
    kind, existed = row[-2], row[-1]
    if kind == REMOVED:
        return Removal(row[0], row[2], row[1], bool(existed), row[10])
    try:
        keys = _strings(row[3])
        changed, elapsed_ms = bool(row[9]), float(row[12])
        parts = _strings(row[13]) if row[13] else ()
        _whole(row[1], *row[5:9])
    except (TypeError, ValueError):
        raise _spoiled("deliveries", row[0]) from None
    digest, mode, uid, gid, size = row[4:9]
    return Receipt(
        row[0],
        row[1],
        row[2],
        keys,
        digest,
        mode,
        uid,
        gid,
        size,
        changed,
        row[10],
        row[11],
        elapsed_ms,
        parts,
    )


def parts_text(parts: Sequence[str]) -> str | None:
    """Return a column's text for files' own digests; NULL for none."""
    return json.dumps(list(parts)) if parts else None


def intent_row(intent: Intent) -> dict[str, Any]:
    """Return an intent as column values."""
    return {
        "tenant_id": intent.tenant_id,
        "generation": intent.generation,
        "digest": intent.digest,
        "keys": json.dumps(intent.keys),
        "at": intent.at,
    }


def intent_of(row: Sequence[Any]) -> Intent:
    """Return the intent of a row in the order of INTENT_COLUMNS."""
    try:
        _whole(row[1])
        return Intent(row[0], row[1], row[2], _strings(row[3]), row[4])
    except (TypeError, ValueError):
        raise _spoiled("intents", row[0]) from None


def _whole(*numbers: object) -> None:
    # SQLite keeps what it is given, whatever the column's type is.
    for number in numbers:
        if type(number) is not int:
            raise TypeError(number)


# Rows repeat the same few lists of names thousands of times.
@lru_cache(maxsize=4096)
def _strings(text: str) -> tuple[str, ...]:
    values = json.loads(text)
    if not isinstance(values, list):
        raise TypeError(text)
    return tuple(map(str, values))


def _signed(number: int | None) -> int | None:
    # Inode numbers use all 64 bits on some file systems; columns are signed.
    return number - 2 * _SIGNED if number is not None and number >= _SIGNED else number


def _spoiled(table: str, tenant_id: object) -> ColibriError:
    return ColibriError(
        "registry_corrupt",
        f"a row of '{str(tenant_id)[:64]}' in the registry's table {table} makes no sense",
        hint="see the runbook registry-corrupt.md; the file is left as it is",
    )
