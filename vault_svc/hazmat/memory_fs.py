"""A small memory file system per jail, mounted on the host by descriptors (fsopen(2), tmpfs(5)).

Rule bent: system calls by number, and mounts change what a path leads to. Why that is safe: the
base's whole way belongs to root alone, and the mount is moved onto a descriptor, not a name.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from typing import Any, Final

from vault_svc.hazmat.confine_walk import SEARCH
from vault_svc.hazmat.mounts import mount_id

# asm-generic/unistd.h: the same on every architecture, Linux 5.2 and newer.
_MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 429, 430, 431, 432
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_CLOEXEC: Final = 1
_NOSUID_NODEV_NOEXEC: Final = 0x2 | 0x4 | 0x8
_BOTH_BY_DESCRIPTOR: Final = 0x04 | 0x40
_DETACH_NOFOLLOW: Final = 2 | 8
_TMPFS_MAGIC: Final = 0x01021994  # statfs(2); f_type comes first
_STATFS_LONGS: Final = 32  # more than struct statfs has anywhere
_NAMES: Final = 16_384  # as many files, and directories, as a jail may fill it with

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _call(number: int, *arguments: Any) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def have(base: int, name: str, size: int) -> bool:
    """Have a memory file system of at most size bytes at name in base; say whether it is new.

    Kept from swap where the kernel can (Linux 6.4). Raises OSError.
    """
    if is_there(base, name):  # its top may be the jail's to spoil; that is seen by who writes there
        return False
    place = _directory(base, name)
    try:
        made = _made(size)
        try:
            _call(_MOVE_MOUNT, made, b"", place, b"", ctypes.c_uint(_BOTH_BY_DESCRIPTOR))
        finally:
            os.close(made)
    finally:
        os.close(place)
    return True


def is_there(base: int, name: str) -> bool:
    """Say whether it is mounted; raise OSError."""
    try:
        fd = os.open(name, SEARCH, dir_fd=base)
    except FileNotFoundError:
        return False
    try:
        return mount_id(fd) != mount_id(base)
    finally:
        os.close(fd)


def is_memory(fd: int) -> bool:
    """Say whether a descriptor is the top of a memory file system of its own; raise OSError."""
    found = (ctypes.c_long * _STATFS_LONGS)()
    if _libc.fstatfs(fd, found) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    above = os.open("..", SEARCH, dir_fd=fd)
    try:
        return found[0] == _TMPFS_MAGIC and mount_id(above) != mount_id(fd)
    finally:
        os.close(above)


def drop(base: int, name: str) -> bool:
    """Take it away with all in it, also from under a jail that has it; say whether it was there.

    A jail that runs keeps an empty directory: what was delivered is deleted first. Raises OSError.
    """
    while is_there(base, name):
        path = f"/proc/self/fd/{base}/{name}".encode()
        if _libc.umount2(path, ctypes.c_int(_DETACH_NOFOLLOW)) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        os.rmdir(name, dir_fd=base)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EBUSY}:  # the empty name harms nobody
            raise
    return True


def _directory(base: int, name: str) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=base)
    fd = os.open(name, SEARCH, dir_fd=base)
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
        os.close(fd)
        raise OSError(errno.EPERM, "somebody else's")
    return fd


def _made(size: int) -> int:
    """Return a descriptor of a new mount that has no place yet."""
    options = {"size": str(size), "nr_inodes": str(_NAMES), "mode": "0755", "source": "colibri"}
    context = _call(_FSOPEN, b"tmpfs", ctypes.c_uint(_CLOEXEC))
    try:
        for key, value in options.items():
            _set(context, _SET_STRING, key, value.encode())
        try:
            _set(context, _SET_FLAG, "noswap", None)
        except OSError as error:
            if error.errno != errno.EINVAL:  # older kernels do not know it
                raise
        _set(context, _CREATE, None, None)
        return _call(
            _FSMOUNT, context, ctypes.c_uint(_CLOEXEC), ctypes.c_uint(_NOSUID_NODEV_NOEXEC)
        )
    finally:
        os.close(context)


def _set(context: int, command: int, key: str | None, value: bytes | None) -> None:
    named = None if key is None else key.encode()
    _call(_FSCONFIG, context, ctypes.c_uint(command), named, value, 0)
