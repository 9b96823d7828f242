"""Files of the host that belong to other programs, and that we put there for them to read."""

from __future__ import annotations

from typing import Protocol


class HostFiles(Protocol):
    """Reads, writes and removes a file where only root or we could; paths are absolute.

    Raises `unsafe_base` where others could change the way to it, `no_space`, `read_only`.
    """

    def read(self, path: str, *, container: int | None = None) -> bytes | None:
        """Return the content of a regular file; None where there is none.

        container: a process whose user namespace's root, too, may own the file's directory.
        """
        ...

    def write(self, path: str, content: bytes) -> None:
        """Put content there in one durable step, readable by all; make missing directories."""
        ...

    def remove(self, path: str) -> None:
        """Delete the file durably if it is there."""
        ...
