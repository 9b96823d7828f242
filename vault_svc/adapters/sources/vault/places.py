"""Where a server keeps tenants' collections, and how they are called there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vault_svc.domain import names
from vault_svc.domain.secret import CollectionRef
from vault_svc.errors import ColibriError, printable

TOKEN_ROLE: Final = "colibri-tenant"  # noqa: S105 - a name
POLICY_PREFIX: Final = "colibri-tenant-"
LEASE_ROLE: Final = "colibri-lease"
LEASE_POLICY_PREFIX: Final = "colibri-lease-"
ORCHESTRATOR_POLICY: Final = "colibri-orchestrator"


@dataclass(frozen=True, slots=True)
class Place:
    """A KV mount and the folder in it; version is the KV engine's, 1 or 2."""

    mount: str
    folder: str
    version: int

    def ref(self, name: str) -> CollectionRef:
        """Return a collection by its name."""
        return CollectionRef(f"{self.mount}/{self.folder}/{name}", name)

    def path(self, name: str) -> str:
        """Return the collection's path inside the mount."""
        return f"{self.folder}/{name}"

    def agreed(self, ref: CollectionRef) -> str:
        """Return a row's collection's name; raise `server_mismatch` where id and name differ."""
        if self.ref(ref.name).collection_id != ref.collection_id or not is_name(ref.name):
            raise ColibriError(
                "server_mismatch",
                f"collection '{printable(ref.name[:64])}' was registered at another place,"
                f" not at '{self.mount}/{self.folder}'",
                hint="colibri update-tenant --collection, if this one is meant",
            )
        return ref.name


def is_name(text: str) -> bool:
    """Say whether a collection may be called so: the name goes into paths and policies."""
    return bool(names.TENANT_ID.fullmatch(text)) and "--" not in text


def policy_of(name: str) -> str:
    """Return the name of a collection's policy."""
    return POLICY_PREFIX + name


def lease_policy_of(tenant_id: str) -> str:
    """Return the name of the policy of a tenant's leased paths."""
    return LEASE_POLICY_PREFIX + tenant_id
