"""A file that only takes up space, to be given up when something must be written on a full disk.

Rule bent: raw descriptors. Why that is safe: the file is opened as ours alone and without
following links. Its bytes are random, because a file system that compresses would store zeros
for nothing.
"""

from __future__ import annotations

import os
from typing import Final

from vault_svc.hazmat import private

_STEP: Final = 64 * 1024


class Ballast:
    """At most one file of a fixed size; raw failures leave as OSError."""

    def __init__(self, path: str, size: int, code: str) -> None:
        """Take the file, its size in bytes, and the code for a file that is not ours."""
        self._path = path
        self._size = size
        self._code = code

    def fill(self) -> None:
        """Make the file, or make it whole again; raises OSError (ENOSPC, EDQUOT)."""
        if self._there() >= self._size:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptor, _ = private.open_file(self._path, flags, self._code)
        try:
            missing = self._size - os.fstat(descriptor).st_size
            while missing > 0:
                missing -= os.write(descriptor, os.urandom(min(missing, _STEP)))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def release(self) -> bool:
        """Give the space back; say whether there was any."""
        if not self._there():
            return False
        descriptor, _ = private.open_file(self._path, os.O_WRONLY, self._code)
        try:
            os.ftruncate(descriptor, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return True

    def _there(self) -> int:
        try:
            return os.lstat(self._path).st_size
        except FileNotFoundError:
            return 0
