"""Where secrets stand that are delivered to memory: a file system per jail, the host's own.

A root is its host path, whose last component is the jail's name. Where a jail's is, its row says;
the setting tells only where new ones are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class MemorySeen:
    """What is mounted at a root: kind is `memory`, `other` or `missing`.

    swaps: the host may write it to its swap. whole: it has the size that is set.
    """

    kind: str
    swaps: bool = False
    size: int = 0
    whole: bool = True


class MemoryRoots(Protocol):
    """Memory file systems by jail; the engine shows a jail its own at `delivered.MOUNT_POINT`."""

    def path(self, jail: str) -> str:
        """Return the host path that a jail's gets when it is made."""
        ...

    def have(self, root: str) -> bool:
        """Mount it unless it is; say whether it is new.

        Raises `helper_missing` where this host or user cannot, `unsafe_base`.
        """
        ...

    @property
    def base(self) -> str:
        """The directory in which new ones are made."""
        ...

    def is_fit(self, base: str) -> bool:
        """Say whether a base is there; raise `unsafe_base`."""
        ...

    def look(self, root: str) -> MemorySeen:
        """Return what is mounted there; raise `unsafe_base`."""
        ...

    def swaps(self) -> tuple[str, ...]:
        """Return what this host swaps to."""
        ...

    def drop(self, root: str) -> None:
        """Take it away, if it is there."""
        ...
