"""The closed list of audited events and the shape of one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Event(StrEnum):
    """What the audit log can say; `will_*` stands before the act, the other after it."""

    INITIALISED = "initialised"
    TENANT_REGISTERED = "tenant_registered"
    TENANT_UPDATED = "tenant_updated"
    WILL_DELIVER = "will_deliver"
    DELIVERED = "delivered"
    ADOPTED = "adopted"
    RELOADED = "reloaded"
    RELOAD_FAILED = "reload_failed"
    DELIVERY_FAILED = "delivery_failed"
    DISPLACED = "displaced"
    STARTED_REGARDLESS = "started_regardless"
    AGENT_STARTED = "agent_started"
    AGENT_ENDED = "agent_ended"
    HOOK_INSTALLED = "hook_installed"
    HOOK_UNINSTALLED = "hook_uninstalled"
    UNCHANGED_SUMMARY = "unchanged_summary"
    WILL_REMOVE = "will_remove"
    REMOVED = "removed"
    REMOVAL_FAILED = "removal_failed"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    REVOKED = "revoked"
    OFFBOARDED = "offboarded"
    WILL_CHANGE_COLLECTION = "will_change_collection"
    COLLECTION_CHANGED = "collection_changed"
    JAIL_CREATED = "jail_created"
    JAIL_STARTED = "jail_started"
    JAIL_STOPPED = "jail_stopped"
    WILL_DESTROY_JAIL = "will_destroy_jail"
    JAIL_DESTROYED = "jail_destroyed"
    JAIL_NOT_DESTROYED = "jail_not_destroyed"
    HOST_KEY_ROTATED = "host_key_rotated"
    IDENTITY_ROTATED = "identity_rotated"
    SOURCE_LOGIN = "source_login"
    SOURCE_LOGIN_FAILED = "source_login_failed"
    SOURCE_LOGOUT = "source_logout"
    SOURCE_POLICIES = "source_policies"
    LEASES_MAPPED = "leases_mapped"
    WILL_LEASE = "will_lease"
    LEASED = "leased"
    LEASES_RENEWED = "leases_renewed"
    LEASE_LOST = "lease_lost"
    WILL_TAKE_OUT = "will_take_out"
    LEASES_ENDED = "leases_ended"
    LOG_REPAIRED = "log_repaired"
    LOG_ROTATED = "log_rotated"
    LOG_PRUNED = "log_pruned"
    LOG_RENEWED = "log_renewed"


REMOVALS = frozenset(
    {
        Event.WILL_REMOVE,
        Event.REMOVED,
        Event.REMOVAL_FAILED,
        Event.SUSPENDED,
        Event.REVOKED,
        Event.OFFBOARDED,
        Event.LEASES_ENDED,
    }
)
"""Events that may use the log's preallocated reserve (decision 14)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a caller asks to be written: no value, no credential, ever."""

    event: Event
    tenant: str = ""
    detail: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The newest line of the log: its number and its chain value (hex)."""

    seq: int
    mac: str
