"""What is mounted as a jail's memory, and whether this host could write it to a disk; for doctor.

Nothing is changed, and nothing but the top of the mount is opened.
Sources: proc_pid_mountinfo(5), proc_swaps(5), tmpfs(5).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from vault_svc.hazmat import memory_fs
from vault_svc.hazmat.confine_walk import SEARCH
from vault_svc.hazmat.mounts import mount_id

_MOST_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Look:
    """A mount: whether it is a memory file system, its size in bytes, whether it may swap."""

    memory: bool
    size: int
    swaps: bool


def look(base: int, name: str) -> Look | None:
    """Return what is mounted at name in base, None for nothing; raise OSError."""
    if not memory_fs.is_there(base, name):
        return None
    fd = os.open(name, SEARCH, dir_fd=base)
    try:
        whole = os.fstatvfs(fd)
        memory = memory_fs.is_memory(fd)
        return Look(memory, whole.f_blocks * whole.f_frsize, "noswap" not in _options(fd))
    finally:
        os.close(fd)


def swaps_in_use() -> tuple[str, ...]:
    """Return the devices and files this host swaps to; raise OSError."""
    try:
        with open("/proc/swaps", "rb") as lines:
            listed = lines.read(_MOST_BYTES)
    except FileNotFoundError:  # a kernel without swap
        return ()
    return swap_names(os.fsdecode(listed))


def swap_names(table: str) -> tuple[str, ...]:
    """Return the first column of what /proc/swaps holds, without its head."""
    return tuple(line.split()[0] for line in table.splitlines()[1:] if line.strip())


def _options(fd: int) -> list[str]:
    """Return what the file system under a descriptor was made with."""
    wanted = str(mount_id(fd))
    with open("/proc/self/mountinfo", "rb") as lines:
        for line in os.fsdecode(lines.read(_MOST_BYTES)).splitlines():
            ours, _, theirs = line.partition(" - ")
            if ours.split(" ")[0] == wanted:
                return theirs.split(" ")[2].split(",")
    return []
