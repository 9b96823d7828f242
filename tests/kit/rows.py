"""Rows and records for tests, plausible unless a test says otherwise."""

from __future__ import annotations

from typing import Any

from vault_svc.domain.receipt import Intent, Receipt, Removal
from vault_svc.domain.tenant import Status, Tenant

AT = "2026-11-21T03:24:00.000Z"
LATER = "2026-11-22T03:24:00.000Z"
DIGEST = "k1:" + "ab" * 32


def a_tenant(tenant_id: str = "acme", **changes: Any) -> Tenant:
    values: dict[str, Any] = {
        "tenant_id": tenant_id,
        "host": "h1",
        "engine": "directory",
        "jail": tenant_id,
        "jail_root": f"/srv/jails/{tenant_id}",
        "source": "embedded",
        "collection": tenant_id,
        "collection_id": f"id-of-{tenant_id}",
        "profile": "standard",
        "delivery": "file",
        "mounts": (),
        "env_path": "/.env",
        "owner_uid": 1000,
        "owner_gid": 1000,
        "tier": "standard",
        "status": Status.REGISTERED,
        "generation": 0,
        "last_error": None,
        "created_at": AT,
        "updated_at": AT,
        "root_ino": 12345,
    }
    return Tenant(**{**values, **changes})


def a_receipt(tenant_id: str = "acme", generation: int = 1, **changes: Any) -> Receipt:
    values: dict[str, Any] = {
        "tenant_id": tenant_id,
        "generation": generation,
        "path": "/.env",
        "keys": ("API_KEY", "DB_URL"),
        "digest": DIGEST,
        "mode": 0o600,
        "uid": 1000,
        "gid": 1000,
        "size": 99,
        "changed": True,
        "at": LATER,
        "source_revision": "7",
        "elapsed_ms": 1.25,
    }
    return Receipt(**{**values, **changes})


def an_intent(tenant_id: str = "acme", generation: int = 1, **changes: Any) -> Intent:
    values: dict[str, Any] = {
        "tenant_id": tenant_id,
        "generation": generation,
        "digest": DIGEST,
        "keys": ("API_KEY", "DB_URL"),
        "at": AT,
    }
    return Intent(**{**values, **changes})


def a_removal(tenant_id: str = "acme", generation: int = 1, **changes: Any) -> Removal:
    values: dict[str, Any] = {
        "tenant_id": tenant_id,
        "path": "/.env",
        "generation": generation,
        "existed": True,
        "at": LATER,
    }
    return Removal(**{**values, **changes})
