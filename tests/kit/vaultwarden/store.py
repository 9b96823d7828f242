"""What the double keeps: the rows of a server that never sees a plain value."""

from __future__ import annotations

import datetime as dt
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from tests.kit.vaultwarden.world import Access, Role

_NAMES = uuid.UUID("6f1d1f0c-8c0e-4f39-9b8c-0d5f7a7f3a11")


@dataclass
class Membership:
    """An organisation as the service account has it."""

    id: str
    name: str
    key: str
    member: str
    role: Role = Role.USER
    status: int = 2
    enabled: bool = True


@dataclass
class Collection:
    """A collection and what the service account may do with it."""

    id: str
    organization: str
    name: str
    access: Access


@dataclass
class Cipher:
    """An item as it was sent, and what the server adds."""

    id: str
    request: dict[str, Any]
    collections: list[str]
    created: str
    revised: str
    deleted: str | None = None
    attachments: list[dict[str, Any]] = field(default_factory=list)


class Store:
    """Rows, ids that follow from a seed, and the server's clock, which a test may put wrong."""

    def __init__(self, seed: str) -> None:
        self.seed = seed
        self.lock = threading.RLock()
        self._made = 0
        self.clock_offset = 0.0
        self.memberships: dict[str, Membership] = {}
        self.collections: dict[str, Collection] = {}
        self.ciphers: dict[str, Cipher] = {}
        self.stamp = self.new_id("stamp")
        self.revision = 0.0
        self.touch()

    def new_id(self, kind: str) -> str:
        """Return the next id of a kind: the same in each run for one seed, never twice."""
        with self.lock:
            self._made += 1
            return str(uuid.uuid5(_NAMES, f"{self.seed}/{kind}/{self._made}"))

    def now(self) -> float:
        """Return the server's own time."""
        return time.time() + self.clock_offset

    def touch(self) -> str:
        """Note that the account's view changed; return the time as the API writes it."""
        self.revision = self.now()
        moment = dt.datetime.fromtimestamp(self.revision, dt.UTC)
        return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")

    def full_access(self, organization: str | None) -> bool:
        """Say whether the account sees all of an organisation, granted or not."""
        row = self.memberships.get(organization or "")
        return row is not None and row.role in {Role.OWNER, Role.ADMIN}

    def access(self, collection: str) -> Access:
        """Return what the account may do with a collection."""
        row = self.collections[collection]
        if row.organization not in self.memberships:
            return Access.NONE
        return Access.WRITE if self.full_access(row.organization) else row.access

    def visible_collections(self) -> list[Collection]:
        """Return the collections the account sees."""
        return [row for row in self.collections.values() if self.access(row.id) != Access.NONE]

    def seen_in(self, cipher: Cipher) -> list[str]:
        """Return those of an item's collections that the account sees: others stay unknown."""
        return [each for each in cipher.collections if self.access(each) != Access.NONE]

    def visible_ciphers(self) -> list[Cipher]:
        """Return the account's own items and those of collections it sees."""
        return [row for row in self.ciphers.values() if self._visible(row)]

    def _visible(self, row: Cipher) -> bool:
        home = row.request["organizationId"]
        return home is None or self.full_access(home) or bool(self.seen_in(row))
