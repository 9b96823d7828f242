"""The append-only, chained record of what colibri did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from vault_svc.domain.audit import Entry, Head


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found: lines checked, and where the chain first breaks (None: intact)."""

    lines: int
    segments: int
    head: Head | None
    broken_at: str | None = None
    repairs: int = 0


class AuditLog(Protocol):
    """Durable before it returns; one line per entry, each chained to the one before."""

    def append(self, entries: Sequence[Entry]) -> Head:
        """Write and sync entries in order; return the new head.

        Only when every entry is one of `REMOVALS` may the preallocated reserve be used.
        Raises `audit_unwritable` (also for a full disk, whose hint says so), `audit_broken`
        when the log is behind its mirror or its last line is not ours, `busy`.
        """
        ...

    def head(self) -> Head | None:
        """Return the newest line's number and chain value."""
        ...

    def ready(self) -> None:
        """Raise what append would find wrong with the log as it is; write nothing."""
        ...

    def tail(self, count: int, *, tenant: str = "") -> list[Mapping[str, Any]]:
        """Return the last lines, oldest first."""
        ...

    def lines(self) -> Iterator[Mapping[str, Any]]:
        """Yield every retained line, oldest first."""
        ...

    def renew(self) -> tuple[Head, str]:
        """Put a broken log aside, whole, and begin a new one whose first line says so.

        Returns the new head and the name of what was put aside. Raises `usage` for an intact
        log, `audit_unwritable`, `busy`.
        """
        ...

    def verify(self) -> Verdict:
        """Walk the whole chain and compare its head with the registry's mirror."""
        ...
