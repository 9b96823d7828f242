"""Leases, mappings and tokens as rows of the registry, and back; standard library only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from vault_svc.domain.lease import Lease, LeasedVariable, LeaseToken, Request, State
from vault_svc.errors import ColibriError

VARIABLE_COLUMNS: Final = ("tenant_id", "variable", "path", "field", "params")
LEASE_COLUMNS: Final = (
    "key",
    "tenant_id",
    "path",
    "params",
    "fields",
    "state",
    "accessor",
    "lease_id",
    "issued_at",
    "expires_at",
    "renewable",
    "generation",
)
TOKEN_COLUMNS: Final = ("accessor", "tenant_id", "live", "renewed_at", "expires_at")


def variable_row(mapped: LeasedVariable) -> dict[str, Any]:
    """Return a mapping as column values."""
    return {
        "tenant_id": mapped.tenant_id,
        "variable": mapped.variable,
        "path": mapped.path,
        "field": mapped.field,
        "params": json.dumps(mapped.params),
    }


def variable_of(row: Sequence[Any]) -> LeasedVariable:
    """Return the mapping of a row in the order of VARIABLE_COLUMNS."""
    tenant_id, variable, path, field, params = row
    return LeasedVariable(tenant_id, variable, path, field, _pairs(params, "lease_variables"))


def lease_row(lease: Lease) -> dict[str, Any]:
    """Return a lease as column values."""
    return {
        "key": lease.key,
        "tenant_id": lease.tenant_id,
        "path": lease.request.path,
        "params": json.dumps(lease.request.params),
        "fields": json.dumps(lease.request.fields),
        "state": str(lease.state),
        "accessor": lease.accessor,
        "lease_id": lease.lease_id,
        "issued_at": lease.issued_at,
        "expires_at": lease.expires_at,
        "renewable": lease.renewable,
        "generation": lease.generation,
    }


def lease_of(row: Sequence[Any]) -> Lease:
    """Return the lease of a row in the order of LEASE_COLUMNS."""
    key, tenant_id, path, params, fields, state, *rest = row
    accessor, lease_id, issued_at, expires_at, renewable, generation = rest
    request = Request(path, _pairs(fields, "leases"), _pairs(params, "leases"))
    return Lease(
        key,
        tenant_id,
        request,
        State(state),
        accessor,
        lease_id,
        issued_at,
        expires_at,
        bool(renewable),
        generation,
    )


def token_row(token: LeaseToken) -> dict[str, Any]:
    """Return a token's row as column values."""
    return {name: getattr(token, name) for name in TOKEN_COLUMNS}


def token_of(row: Sequence[Any]) -> LeaseToken:
    """Return the token's row in the order of TOKEN_COLUMNS."""
    accessor, tenant_id, live, renewed_at, expires_at = row
    return LeaseToken(tenant_id, accessor, bool(live), renewed_at, expires_at)


def _pairs(text: str, table: str) -> tuple[tuple[str, str], ...]:
    try:
        return tuple((str(name), str(value)) for name, value in json.loads(text))
    except (TypeError, ValueError):
        raise ColibriError(
            "registry_corrupt",
            f"a row in the registry's table {table} makes no sense",
            hint="see the runbook registry-corrupt.md; the file is left as it is",
        ) from None
