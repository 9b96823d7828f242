"""What spawning an agent needs: records that outlive us, and signals that can wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Passing:
    """A jail that is to go when its agent has gone: written down before it is made."""

    tenant_id: str
    engine: str
    jail: str


class Held(Protocol):
    """A record that is ours while we live."""

    @property
    def what(self) -> Passing:
        """What is recorded."""
        ...

    def done(self) -> None:
        """Delete the record: what it stands for is gone."""
        ...


class SpawnRecords(Protocol):
    """Records of passing jails; each is its writer's until that process ends, however it ends."""

    def add(self, what: Passing) -> AbstractContextManager[Held]:
        """Write a record durably and hold it; it stays after the block unless it is done."""
        ...

    def names(self, jail: str) -> bool:
        """Say whether a record is of a jail of this name, whoever holds it."""
        ...

    def abandoned(self) -> Iterator[Held]:
        """Yield the records whose writers are gone, each held while it is looked at."""
        ...


class Signals(Protocol):
    """Signals that came while they were held back."""

    @property
    def ending(self) -> int | None:
        """The first one that asked us to end."""
        ...
