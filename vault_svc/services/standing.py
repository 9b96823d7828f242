"""What stands in a tenant's jail, put, seen and taken away in the tenant's way of delivery."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from vault_svc.domain import delivered, files
from vault_svc.domain.delivered import MODES, is_set
from vault_svc.domain.receipt import Found, Owner, Placed, Receipt, Removal, recorded_drift
from vault_svc.domain.tenant import Tenant
from vault_svc.errors import ColibriError
from vault_svc.ports.credential_store import HostKeys
from vault_svc.ports.delivery import Delivery, JailRoot
from vault_svc.services.context import Context

_LOOKED_BACK: Final = 16
"""Records among which the last delivery before removals is looked for."""


def known_keys(
    context: Context, tenant_id: str, newest: Receipt | Removal | None
) -> frozenset[str]:
    """Return the variables that were delivered last or announced since: no other name is ours."""
    if isinstance(newest, Removal):
        history = context.registry.history(tenant_id, _LOOKED_BACK)
        newest = next((each for each in history if isinstance(each, Receipt)), None)
    keys = newest.keys if isinstance(newest, Receipt) else ()
    intents = context.registry.open_intents([tenant_id]).get(tenant_id, ())
    return frozenset(keys).union(*(intent.keys for intent in intents))


def look(
    delivery: Delivery,
    tenant: Tenant,
    root: JailRoot,
    path: str,
    keys: Collection[str],
    *,
    max_bytes: int,
) -> Found:
    """Return what stands at path; keys are the variables that may have a file there."""
    parts = delivered.parts(tenant.delivery, path)
    try:
        if is_set(tenant.delivery):
            return delivery.inspect_files(root, parts, keys, max_bytes=max_bytes)
        return delivery.inspect(root, parts, max_bytes=max_bytes)
    except ColibriError as error:
        if not root.mount or error.code != "path_missing":
            raise
        return Found("missing", files={} if is_set(tenant.delivery) else None)  # gone with the host


def put(
    delivery: Delivery,
    tenant: Tenant,
    root: JailRoot,
    path: tuple[str, ...],
    content: bytes,
    keys: Collection[str],
) -> Placed:
    """Place what `delivered.render` made; keys as in look, those not in content go."""
    owner, mode = Owner(tenant.owner_uid, tenant.owner_gid), MODES[tenant.delivery]
    if is_set(tenant.delivery):
        contents = files.unpack(content)
        return delivery.place_files(root, path, contents, owner, mode, stale=keys)
    return delivery.place(root, path, content, owner, mode)


def settle(
    delivery: Delivery,
    tenant: Tenant,
    root: JailRoot,
    path: tuple[str, ...],
    keys: Collection[str],
) -> None:
    """Make what stands there durable."""
    if is_set(tenant.delivery):
        delivery.settle_files(root, path, keys)
    else:
        delivery.settle(root, path)


def take(
    delivery: Delivery, tenant: Tenant, root: JailRoot, path: str, keys: Collection[str]
) -> str:
    """Delete what stands at path; return its kind, `missing` if there was nothing."""
    parts = delivered.parts(tenant.delivery, path)
    if is_set(tenant.delivery):
        return delivery.remove_files(root, parts, keys)
    return delivery.remove(root, parts)


def parts(keys: HostKeys, tenant: Tenant, content: bytes) -> tuple[str, ...]:
    """Return each file's own digest, in the order of its name; none for a single file."""
    if not is_set(tenant.delivery):
        return ()
    contents = files.unpack(content)
    return tuple(
        _hex(keys.digest(tenant.tenant_id, files.part(name, contents[name])))
        for name in sorted(contents)
    )


def drift(keys: HostKeys, tenant: Tenant, found: Found, receipt: Receipt) -> tuple[str, ...]:
    """Return how found differs from a receipt, under the key it was made with."""
    key_id = receipt.digest.partition(":")[0]

    def digest(content: bytes) -> str:
        return keys.digest(tenant.tenant_id, content, key_id=key_id)

    whole = digest(found.content or b"")
    if not is_set(tenant.delivery):
        return recorded_drift(found, receipt, whole)
    same, made = whole == receipt.digest, dict(zip(receipt.keys, receipt.parts, strict=False))

    def is_made(name: str, there: Found) -> bool:
        own = files.part(name, there.content or b"")
        return same or _hex(digest(own)) == made.get(name)

    words = files.recorded_drift(found, receipt, is_made)
    return words if words or same else ("bytes",)


def _hex(digest: str) -> str:
    return digest.partition(":")[2]
