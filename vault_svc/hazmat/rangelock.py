"""Byte-range locks that the kernel gives back when a process dies.

Rule bent: a raw fcntl structure. Why that is safe: on 64-bit Linux open-file-description locks
(fcntl(2), F_OFD_SETLK) belong to one open(2), so neither another thread nor another descriptor
of the same file can release them. Elsewhere POSIX locks belong to the process: threads are kept
apart by a table here, and the file is never closed while a lock in it is held.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import sys
import threading
from typing import Final

from vault_svc.hazmat import private

# l_type, l_whence, l_start, l_len, l_pid, padding: struct flock of 64-bit Linux.
_FLOCK: Final = struct.Struct("@hhqqi4x")
_OFD: Final = hasattr(fcntl, "F_OFD_SETLK") and sys.maxsize > 2**32
_HELD_ELSEWHERE: Final = {errno.EACCES, errno.EAGAIN}


class RangeLocks:
    """One-byte locks in one file, by offset."""

    def __init__(self, path: str, code: str, *, ofd: bool = _OFD) -> None:
        """Take the file, made 0600 when first needed, and the code for one that is not ours."""
        self._path = path
        self._code = code
        self._ofd = ofd
        self._guard = threading.Lock()
        self._held: set[int] = set()
        self._shared: int | None = None

    def acquire(self, offset: int) -> int | None:
        """Lock a byte without waiting; return a token for `release`, None if it is held."""
        if self._ofd:
            descriptor = self._open()
            if _set(descriptor, fcntl.F_OFD_SETLK, fcntl.F_WRLCK, offset):
                return descriptor
            os.close(descriptor)
            return None
        with self._guard:
            if offset in self._held:
                return None
            if self._shared is None:
                self._shared = self._open()
            if not _posix(self._shared, offset):
                return None
            self._held.add(offset)
            return offset

    def release(self, token: int) -> None:
        """Give a lock back."""
        if self._ofd:
            os.close(token)
            return
        with self._guard:
            self._held.discard(token)
            if self._shared is not None:
                fcntl.lockf(self._shared, fcntl.LOCK_UN, 1, token)

    def __del__(self) -> None:
        if self._shared is not None:
            with contextlib.suppress(OSError):
                os.close(self._shared)

    def _open(self) -> int:
        return private.open_file(self._path, os.O_RDWR | os.O_CREAT, self._code)[0]


def _set(descriptor: int, command: int, kind: int, offset: int) -> bool:
    try:
        fcntl.fcntl(descriptor, command, _FLOCK.pack(kind, os.SEEK_SET, offset, 1, 0))
    except OSError as error:
        if error.errno in _HELD_ELSEWHERE:
            return False
        os.close(descriptor)
        raise
    return True


def _posix(descriptor: int, offset: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
    except OSError as error:
        if error.errno in _HELD_ELSEWHERE:
            return False
        raise
    return True
