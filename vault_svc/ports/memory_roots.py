"""Where secrets stand that are delivered to memory: a file system per jail, the host's own."""

from __future__ import annotations

from typing import Protocol


class MemoryRoots(Protocol):
    """Memory file systems by jail; the engine shows a jail its own at `delivered.MOUNT_POINT`."""

    def path(self, jail: str) -> str:
        """Return the host path of a jail's, whether it is there or not."""
        ...

    def have(self, jail: str) -> bool:
        """Mount it unless it is; say whether it is new.

        Raises `helper_missing` where this host or user cannot, `unsafe_base`.
        """
        ...

    def drop(self, jail: str) -> None:
        """Take it away, if it is there."""
        ...
