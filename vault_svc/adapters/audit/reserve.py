"""Space kept for removals only, so that a full disk never blocks a revocation (decision 14).

Where the file system can, it is blocks allocated past the log's end; elsewhere a ballast file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from vault_svc.hazmat import prealloc
from vault_svc.hazmat.ballast import Ballast

BALLAST: Final = "audit.reserve"
# Ordinary appends extend in steps, so that most of them find their blocks there already.
_STEP: Final = 64 * 1024

KeepSize = Callable[[int, int, int], bool]


class Reserve:
    """At least `size` bytes that only `release` and writes past the last extension may use."""

    def __init__(self, directory: str, size: int, keep_size: KeepSize = prealloc.keep_size) -> None:
        """Take the log's directory and the reserve in bytes."""
        self._ballast = Ballast(str(Path(directory) / BALLAST), size, "audit_unwritable")
        self._size = size
        self._keep_size = keep_size

    def extend(self, descriptor: int, offset: int, length: int) -> None:
        """Make sure that length bytes from offset fit, and the whole reserve after them.

        Raises OSError (ENOSPC, EDQUOT) where they do not.
        """
        if self._size == 0:
            return
        end = offset + length + self._size
        if not self._keep_size(descriptor, offset, end + -end % _STEP - offset):
            self._ballast.fill()

    def release(self) -> bool:
        """Give the ballast's space back; say whether there was any."""
        return self._ballast.release()
