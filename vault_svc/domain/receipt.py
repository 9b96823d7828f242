"""Records of deliveries: what was announced, what was placed, never a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Owner:
    """Numeric owner of a delivered file, as the jail counts: as the host, unless ids are mapped."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Intent:
    """What will be delivered; durable before the write (rule 4)."""

    tenant_id: str
    generation: int
    digest: str
    keys: tuple[str, ...]
    at: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """One delivery (changed) or its confirmation; digest is `KEYID:hex`, an HMAC of the bytes.

    parts: where each key has a file of its own, those files' own HMACs (hex), in keys' order.
    """

    tenant_id: str
    generation: int
    path: str
    keys: tuple[str, ...]
    digest: str
    mode: int
    uid: int
    gid: int
    size: int
    changed: bool
    at: str
    source_revision: str
    elapsed_ms: float
    parts: tuple[str, ...] = ()  # tells which file drifted, not part of the JSON contract


@dataclass(frozen=True, slots=True)
class Removal:
    """The record that a delivered file is not in the jail any more."""

    tenant_id: str
    path: str
    generation: int
    existed: bool
    at: str


@dataclass(frozen=True, slots=True)
class Found:
    """What the confined walk saw at a path; kind is `file`, `missing`, or what stands there.

    content is None unless a regular file within the size limit was read. files: at a directory
    for several secrets, what stands at those of the asked names that are there; content is then
    all of them packed, None unless each is a regular file.
    """

    kind: str
    content: bytes | None = field(default=None, repr=False)
    mode: int = 0
    uid: int = 0
    gid: int = 0
    nlink: int = 0
    dev: int = 0
    ino: int = 0
    mtime_ns: int = 0
    size: int = 0
    files: Mapping[str, Found] | None = field(default=None, repr=False)

    @property
    def is_gone(self) -> bool:
        """Whether nothing of a delivery stands there: no file, or a directory without any."""
        empty = self.kind == "directory" and self.files is not None and not self.files
        return self.kind == "missing" or empty

    def drift_from(self, content: bytes, mode: int, owner: Owner) -> tuple[str, ...]:
        """Return in words how this differs from what should be there; empty if it does not."""
        return self.differs(mode, owner, same_bytes=self.content == content)

    def differs(self, mode: int, owner: Owner, *, same_bytes: bool) -> tuple[str, ...]:
        """Return the same where only whether the bytes are right is known."""
        if self.kind == "missing":
            return ("missing",)
        if self.kind != "file":
            return (f"replaced by {self.kind}",)
        checks = (
            (same_bytes, "bytes"),
            (self.mode == mode, "mode"),
            (self.uid == owner.uid and self.gid == owner.gid, "owner"),
            (self.nlink == 1, "links"),
        )
        return tuple(word for good, word in checks if not good)


def recorded_drift(found: Found, receipt: Receipt, digest: str) -> tuple[str, ...]:
    """Return how found differs from a receipt; digest is of the found bytes, under its key."""
    owner = Owner(receipt.uid, receipt.gid)
    return found.differs(receipt.mode, owner, same_bytes=digest == receipt.digest)


@dataclass(frozen=True, slots=True)
class Placed:
    """What the confined write put in place, and the kind of what it displaced.

    For several files: the directory, and each file's (device, inode) by name.
    """

    dev: int
    ino: int
    mtime_ns: int
    size: int
    displaced: str
    files: Mapping[str, tuple[int, int]] = field(default_factory=dict)
