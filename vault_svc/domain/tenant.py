"""A tenant's row and the only ways its status may change (decisions 1 and 3)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from vault_svc.errors import ColibriError


class Status(StrEnum):
    """Where a tenant stands."""

    REGISTERED = "registered"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    OFFBOARDED = "offboarded"


class Action(StrEnum):
    """What changes a status."""

    PROVISION = "provision"
    SUSPEND = "suspend"
    REVOKE = "revoke"
    RESUME = "resume"
    OFFBOARD = "offboard"


_OPEN: Final = (Status.REGISTERED, Status.ACTIVE)
_TRANSITIONS: Final[dict[Action, tuple[tuple[Status, ...], Status]]] = {
    Action.PROVISION: (_OPEN, Status.ACTIVE),
    Action.SUSPEND: ((*_OPEN, Status.SUSPENDED), Status.SUSPENDED),
    Action.REVOKE: ((*_OPEN, Status.SUSPENDED), Status.SUSPENDED),
    Action.RESUME: ((*_OPEN, Status.SUSPENDED), Status.REGISTERED),
    Action.OFFBOARD: (tuple(Status), Status.OFFBOARDED),
}


@dataclass(frozen=True, slots=True)
class Tenant:
    """One customer's row; field names are the JSON contract's, but for root_ino.

    root_ino: the jail root's inode number when it was last proven, None where none was yet.
    """

    tenant_id: str
    host: str
    engine: str
    jail: str
    jail_root: str
    source: str
    collection: str
    collection_id: str | None
    profile: str
    delivery: str
    mounts: tuple[str, ...]
    env_path: str
    owner_uid: int
    owner_gid: int
    tier: str
    status: Status
    generation: int
    last_error: str | None
    created_at: str
    updated_at: str
    root_ino: int | None = None  # proof of the jail root, not part of the JSON contract


def next_status(tenant: Tenant, action: Action) -> Status:
    """Return the status after action; raise `tenant_suspended` or `tenant_offboarded`.

    Suspending the suspended, revoking the revoked, resuming the open and offboarding the
    offboarded are done already: the status they have is returned.
    """
    if tenant.status is Status.OFFBOARDED and action is not Action.OFFBOARD:
        raise ColibriError(
            "tenant_offboarded",
            f"tenant '{tenant.tenant_id}' is offboarded, its id is not used again",
            hint="register a new tenant id",
            tenant=tenant.tenant_id,
        )
    allowed, after = _TRANSITIONS[action]
    if tenant.status not in allowed:
        raise ColibriError(
            "tenant_suspended",
            f"tenant '{tenant.tenant_id}' is suspended",
            hint=f"colibri resume {tenant.tenant_id}",
            tenant=tenant.tenant_id,
        )
    if action is Action.RESUME and tenant.status in _OPEN:
        return tenant.status
    return after
