"""openat2(2) by number: neither Python nor every libc has a wrapper (cpython issue 141878)."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import Final

# 437 on every architecture, Linux 5.6 and newer.
_NUMBER: Final = 437
NO_XDEV: Final = 0x01
NO_MAGICLINKS: Final = 0x02
NO_SYMLINKS: Final = 0x04
BENEATH: Final = 0x08
STRICT: Final = BENEATH | NO_SYMLINKS | NO_MAGICLINKS | NO_XDEV
# Without `..` in the path the kernel never asks to retry (measured); the budget is a bound.
_RETRIES: Final = 16
_UNSUPPORTED: Final = frozenset({errno.ENOSYS, errno.E2BIG, errno.EINVAL})


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_SIZE: Final = ctypes.sizeof(_OpenHow)
_libc: Final = ctypes.CDLL(None, use_errno=True)
_call: Final = _libc.syscall
_call.restype = ctypes.c_long
_call.argtypes = (
    ctypes.c_long,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_void_p,
    ctypes.c_size_t,
)


def _syscall(dir_fd: int, path: bytes, how: _OpenHow) -> int:
    """Return a descriptor, or minus errno; the one place tests replace to play the kernel."""
    result: int = _call(_NUMBER, dir_fd, path, ctypes.byref(how), _SIZE)
    return result if result >= 0 else -ctypes.get_errno()


def openat2(dir_fd: int, path: str, flags: int, resolve: int = STRICT) -> int:
    """Open path beneath dir_fd without crossing links or mounts; raise OSError.

    The descriptor is close-on-exec. Source: openat2(2).
    """
    how = _OpenHow(flags | os.O_CLOEXEC, 0, resolve)
    encoded = os.fsencode(path)
    result = -errno.EAGAIN
    for _ in range(_RETRIES):
        result = _syscall(dir_fd, encoded, how)
        if result not in {-errno.EAGAIN, -errno.EINTR}:
            break
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def supported() -> bool:
    """Ask the kernel once, on `/`: True or False; PermissionError is neither.

    A filter that answers EPERM does so per file: taking it for "not there" would fail open.
    """
    if sys.platform != "linux":
        return False
    slash = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(openat2(slash, ".", os.O_PATH | os.O_DIRECTORY))
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    finally:
        os.close(slash)
    return True
