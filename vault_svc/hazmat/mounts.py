"""Which mount a descriptor is on: st_dev misses bind mounts on Linux and is enough on FreeBSD."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from typing import Final

_AT_EMPTY_PATH: Final = 0x1000
_STATX_MNT_ID: Final = 0x1000  # Linux 5.8
_STATX_SIZE: Final = 256
_MNT_ID_OFFSET: Final = 144  # stx_mnt_id in struct statx, linux/stat.h
_MASK_BYTES: Final = 4

_statx: Final = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)


def mount_id(fd: int) -> int:
    """Return a number that is the same for two descriptors only if they share a mount.

    Raises OSError. Sources: statx(2), proc_pid_fdinfo(5); nullfs overrides st_dev (FreeBSD).
    """
    if sys.platform != "linux":
        return os.fstat(fd).st_dev
    found = _by_statx(fd)
    return _by_fdinfo(fd) if found is None else found


def _by_statx(fd: int) -> int | None:
    """Return stx_mnt_id, or None where kernel or libc do not tell it."""
    if _statx is None:
        return None
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    flags, mask = ctypes.c_int(_AT_EMPTY_PATH), ctypes.c_uint(_STATX_MNT_ID)
    if _statx(ctypes.c_int(fd), b"", flags, mask, buffer) != 0:
        return None
    raw = buffer.raw
    if not int.from_bytes(raw[:_MASK_BYTES], sys.byteorder) & _STATX_MNT_ID:
        return None
    return int.from_bytes(raw[_MNT_ID_OFFSET : _MNT_ID_OFFSET + 8], sys.byteorder)


def _by_fdinfo(fd: int) -> int:
    """Return the mount id older kernels tell in /proc."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as lines:
        found = re.search(r"^mnt_id:\s*(\d+)$", lines.read(), re.MULTILINE)
    if found is None:
        raise OSError(0, "the kernel does not tell mounts apart")
    return int(found.group(1))
