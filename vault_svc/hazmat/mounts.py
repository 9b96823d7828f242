"""Which mount a descriptor is on: st_dev misses bind mounts on Linux and is enough on FreeBSD."""

from __future__ import annotations

import ctypes
import os
import re
import struct
import sys
from typing import Final

_AT_EMPTY_PATH: Final = 0x1000
_STATX_MNT_ID: Final = 0x1000  # Linux 5.8
_STATX_SIZE: Final = 256
_MNT_ID_OFFSET: Final = 144  # stx_mnt_id in struct statx, linux/stat.h
_MASK: Final = struct.Struct("=I")
_MNT_ID: Final = struct.Struct("=Q")

_Buffer: Final = ctypes.c_char * _STATX_SIZE
_statx: Final = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)
if _statx is not None:
    _statx.argtypes = (
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_void_p,
    )


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
    buffer = _Buffer()
    if _statx(fd, b"", _AT_EMPTY_PATH, _STATX_MNT_ID, buffer) != 0:
        return None
    if not _MASK.unpack_from(buffer)[0] & _STATX_MNT_ID:
        return None
    found: int = _MNT_ID.unpack_from(buffer, _MNT_ID_OFFSET)[0]
    return found


def _by_fdinfo(fd: int) -> int:
    """Return the mount id older kernels tell in /proc."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as lines:
        found = re.search(r"^mnt_id:\s*(\d+)$", lines.read(), re.MULTILINE)
    if found is None:
        raise OSError(0, "the kernel does not tell mounts apart")
    return int(found.group(1))
