"""linkat(2) for an inode that has no name yet; os.link cannot say AT_EMPTY_PATH."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

_AT_EMPTY_PATH: Final = 0x1000
_AT_SYMLINK_FOLLOW: Final = 0x400
_linkat: Final = ctypes.CDLL(None, use_errno=True).linkat


def name_inode(fd: int, dir_fd: int, name: str) -> None:
    """Give the inode behind fd a name in dir_fd; never replaces; raise OSError.

    Linux before 6.10 wants CAP_DAC_READ_SEARCH for AT_EMPTY_PATH and answers ENOENT without;
    its man page's other way goes through /proc/self/fd, a link only the kernel resolves.
    """
    new = os.fsencode(name)
    if _call(fd, b"", dir_fd, new, _AT_EMPTY_PATH) == 0:
        return
    number = ctypes.get_errno()
    if number in {errno.ENOENT, errno.EPERM, errno.EINVAL}:
        if _call(-1, f"/proc/self/fd/{fd}".encode(), dir_fd, new, _AT_SYMLINK_FOLLOW) == 0:
            return
        number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


def _call(old_fd: int, old: bytes, new_fd: int, new: bytes, flags: int) -> int:
    as_int = ctypes.c_int
    return int(_linkat(as_int(old_fd), old, as_int(new_fd), new, as_int(flags)))
