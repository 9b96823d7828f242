"""Records of deliveries: what was announced, what was placed, never a value."""

from __future__ import annotations

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
    """One delivery (changed) or its confirmation; digest is `KEYID:hex`, an HMAC of the bytes."""

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

    content is None unless a regular file within the size limit was read.
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

    def drift_from(self, content: bytes, mode: int, owner: Owner) -> tuple[str, ...]:
        """Return in words how this differs from what should be there; empty if it does not."""
        if self.kind == "missing":
            return ("missing",)
        if self.kind != "file":
            return (f"replaced by {self.kind}",)
        return _file_drift(self, owner, mode, same_bytes=self.content == content)


def _file_drift(found: Found, owner: Owner, mode: int, *, same_bytes: bool) -> tuple[str, ...]:
    checks = (
        (same_bytes, "bytes"),
        (found.mode == mode, "mode"),
        (found.uid == owner.uid and found.gid == owner.gid, "owner"),
        (found.nlink == 1, "links"),
    )
    return tuple(word for good, word in checks if not good)


def recorded_drift(found: Found, receipt: Receipt, digest: str) -> tuple[str, ...]:
    """Return how found differs from a receipt; digest is of the found bytes, under its key."""
    if found.kind == "missing":
        return ("missing",)
    if found.kind != "file":
        return (f"replaced by {found.kind}",)
    owner = Owner(receipt.uid, receipt.gid)
    return _file_drift(found, owner, receipt.mode, same_bytes=digest == receipt.digest)


@dataclass(frozen=True, slots=True)
class Placed:
    """What the confined write put in place, and the kind of what it displaced."""

    dev: int
    ino: int
    mtime_ns: int
    size: int
    displaced: str
