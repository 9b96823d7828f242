"""The double's database and PKI engines: accounts on lease, and certificates without one."""

from __future__ import annotations

import secrets
import time
import uuid
from typing import TYPE_CHECKING, Any

from tests.kit.vault import certificate
from tests.kit.vault.state import Answer, Lease, State

if TYPE_CHECKING:
    from tests.kit.vault.routes import Request


def answered(asked: Request) -> tuple[int, Any] | None:
    """Return the answer of a path of these engines, None for any other path."""
    state = asked.state
    _expire(state)
    if asked.path in {"auth/token/lookup-accessor", "auth/token/revoke-accessor"}:
        return _by_accessor(asked)
    if asked.path.startswith("sys/leases/"):
        return _lease(asked, asked.path.removeprefix("sys/leases/"))
    mount, _, rest = asked.path.partition("/")
    if mount not in state.leasing:
        return None
    token = asked.enter()
    role = state.leasing[mount].get(rest)
    if role is None:
        raise Answer(400, f"unknown role: {rest}")
    if role["kind"] == "pki":
        return 200, _whole(certificate.issued(asked.body["common_name"], role["ttl"]))
    if role.get("broken"):
        raise Answer(500, "1 error occurred:\n\t* failed to connect to the database\n\n")
    user, lease_id = f"v-{secrets.token_hex(8)}", f"{asked.path}/{secrets.token_urlsafe(18)}"
    now = time.monotonic()
    state.leases[lease_id] = Lease(token.accessor, user, now + role["ttl"], now + role["longest"])
    data = {"username": user, "password": secrets.token_urlsafe(15)}
    return 200, _whole(data, lease_id=lease_id, lease_duration=role["ttl"], renewable=True)


def _lease(asked: Request, what: str) -> tuple[int, Any]:
    asked.enter()
    state, lease_id = asked.state, asked.body["lease_id"]
    lease, now = state.leases.get(lease_id), time.monotonic()
    if what == "revoke":
        role = state.leasing.get(lease_id.partition("/")[0], {}).get("creds/app", {})
        if lease and role.get("broken"):
            raise Answer(400, "failed to revoke entry: failed to connect to the database")
        state.leases.pop(lease_id, None)
        return 204, None
    if lease is None:
        raise Answer(400, "invalid lease" if what == "lookup" else "lease not found")
    if what == "renew":
        lease.until = min(now + asked.body["increment"], lease.longest)
        left = round(lease.until - now)
        return 200, _whole(None, lease_id=lease_id, lease_duration=left, renewable=True)
    return 200, _whole({"id": lease_id, "ttl": round(lease.until - now), "renewable": True})


def _by_accessor(asked: Request) -> tuple[int, Any]:
    asked.enter()
    state, accessor = asked.state, asked.body["accessor"]
    found = [token for token in state.tokens.values() if token.accessor == accessor]
    if asked.path.endswith("lookup-accessor"):
        if not found:
            raise Answer(400, "1 error occurred:\n\t* invalid accessor\n\n")
        return 200, _whole({"accessor": accessor, "policies": found[0].policies})
    for token in found:
        del state.tokens[token.id]
    _expire(state)
    return 200, _whole(warnings=None if found else ["No token found with this accessor"])


def _expire(state: State) -> None:
    """A token's end is its leases' end."""
    now = time.monotonic()
    for token in [t for t in state.tokens.values() if t.ttl and t.left() <= 0]:
        del state.tokens[token.id]
    alive = {token.accessor for token in state.tokens.values()}
    state.leases = {
        k: lease
        for k, lease in state.leases.items()
        if lease.until > now and lease.accessor in alive
    }


def _whole(data: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "request_id": str(uuid.uuid4()), "lease_id": "", "renewable": False, "lease_duration": 0,
        "data": data, "wrap_info": None, "warnings": None, "auth": None, **more,
    }  # fmt: skip
