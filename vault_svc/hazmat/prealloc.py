"""Blocks allocated past a file's end: space that a full disk cannot take away.

Rule bent: a raw libc call, because Python's posix_fallocate would grow the file. Why that is
safe: plain numbers go in, nothing is written through pointers, and errno is read per thread.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from functools import lru_cache
from typing import Any, Final

_KEEP_SIZE: Final = 1  # FALLOC_FL_KEEP_SIZE, fallocate(2)
_UNSUPPORTED: Final = {errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV, errno.EINVAL, errno.EPERM}


@lru_cache(maxsize=1)
def _fallocate() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    call = getattr(libc, "fallocate64", None) or getattr(libc, "fallocate", None)
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
        call.restype = ctypes.c_int
    return call


def keep_size(descriptor: int, offset: int, length: int) -> bool:
    """Allocate length bytes from offset without changing the file's size.

    Returns False where kernel or file system cannot; raises OSError (ENOSPC, EDQUOT, …).
    """
    call = _fallocate()
    if call is None:
        return False
    while call(descriptor, _KEEP_SIZE, offset, length) != 0:
        number = ctypes.get_errno()
        if number in _UNSUPPORTED:
            return False
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return True
