"""What creates, lists and enters jails, and is the authority on a jail's root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from vault_svc.domain.receipt import Owner


@dataclass(frozen=True, slots=True)
class JailInfo:
    """A jail as its engine lists it."""

    name: str
    root: str
    engine: str


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command in a jail came to: exit status and bounded output."""

    status: int
    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)


class JailEngine(Protocol):
    """One kind of jail; names are exact, never prefixes or patterns."""

    @property
    def name(self) -> str:
        """The engine's name in rows."""
        ...

    @property
    def isolates(self) -> bool:
        """Whether a tenant inside is kept from the host's files at all."""
        ...

    @property
    def stable_roots(self) -> bool:
        """Whether a jail's root keeps its path for the jail's whole life (decision 7)."""
        ...

    def unavailable(self) -> str | None:
        """Return why this host can't run it, from a trial run; None if it can."""
        ...

    def create(self, name: str, owner: Owner) -> JailInfo:
        """Make a jail whose tree owner may use; raise `jail_taken`, `jail_name_refused`."""
        ...

    def destroy(self, name: str) -> None:
        """Remove a jail and its tree, never following what the tenant left in it."""
        ...

    def list(self) -> list[JailInfo]:
        """Return this engine's jails, sorted by name."""
        ...

    def root_of(self, name: str) -> str:
        """Return the host path of the jail's root now; raise `jail_not_found`."""
        ...

    def run(
        self, name: str, argv: Sequence[str], owner: Owner, *, timeout_seconds: float = 30.0
    ) -> Ran:
        """Run argv in the jail as owner, with an empty environment and bounded output."""
        ...
