"""Where secrets stand that are delivered to memory: a file system per jail, the host's own.

A root is its host path, whose last component is the jail's name. Where a jail's is, its row says;
the setting tells only where new ones are made.
"""

from __future__ import annotations

from typing import Protocol


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

    def drop(self, root: str) -> None:
        """Take it away, if it is there."""
        ...
