"""From a descriptor that only looks to one that reads, of the very same inode.

Rule bent: a path, on Linux. Why that is safe: it is a link of the kernel's own to what the
descriptor is of (proc_pid_fd.5); no name of a tenant's is in it.
"""

from __future__ import annotations

import os
import sys
from typing import Final

# Where nothing can be held without opening it: a FIFO cannot make this wait for a writer.
_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_O_PATH: Final = getattr(os, "O_PATH", 0)
LOOK: Final = (_O_PATH or _READ) | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags to hold what has a name without following it and, where there is O_PATH, opening it."""
_EMPTY_PATH: Final = 0x02000000  # FreeBSD 13 and newer (open.2)


def reopened(held: int) -> int:
    """Return a descriptor that reads what held, opened with LOOK, is of; raise OSError."""
    if not _O_PATH:
        return os.dup(held)
    if sys.platform.startswith("freebsd"):
        return os.open("", _READ | _EMPTY_PATH, dir_fd=held)
    return os.open(f"/proc/self/fd/{held}", _READ)
