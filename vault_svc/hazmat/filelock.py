"""Whole-file advisory locks (flock(2)) with a bounded wait.

Rule bent: a descriptor is held open for the lock's sake. Why that is safe: flock belongs to the
open file, so closing the descriptor, or dying, gives it back.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from typing import Final

from vault_svc.hazmat import ending, private

_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.02


@contextlib.contextmanager
def held(path: str, code: str, *, shared: bool, timeout_seconds: float) -> Iterator[bool]:
    """Hold path's lock in the block; yield False where others kept it past the limit.

    An exclusive lock makes the file, 0600; a shared one raises FileNotFoundError without it.
    """
    flags = os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT
    descriptor, _ = private.open_file(path, flags, code)
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        yield _wait(descriptor, kind, time.monotonic() + timeout_seconds)
    finally:
        os.close(descriptor)


def opened_and_locked(parent: int, name: str, flags: int = os.O_RDONLY) -> int | None:
    """Open a name in a directory of ours and lock it; None while somebody has it, or it is gone."""
    try:
        fd = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def opened_and_owned(parent: int, name: str) -> int | None:
    """Make a file in a directory of ours and lock it for this process; None while another has it.

    Children do not inherit it (fcntl(2)): one that outlives us, stopped, keeps it from nobody.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=parent)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def _wait(descriptor: int, kind: int, deadline: float) -> bool:
    pause = _FIRST_PAUSE
    while True:
        ending.check()
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            return True
