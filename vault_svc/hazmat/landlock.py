"""The second layer: the thread that writes into a jail may write nowhere else (landlock(7)).

Rule bent: system calls by number, and a thread that can never be given back its rights. Why that
is safe: the thread is ours, made for one act, and ends with it. Restrictions are a thread's own.
What Landlock does not govern (chmod, chown, times, attributes by path) the descriptor rules do.
"""

from __future__ import annotations

import _thread
import ctypes
import errno
import os
import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

from vault_svc.hazmat.ending import deferred

NAME = "Landlock"
NEEDS = "Linux 6.2 or newer"
# linux/landlock.h; the numbers are the same on every architecture (asm-generic/unistd.h).
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
LEAST_ABI: Final = 3
"""From here on moving between directories (2) and truncating (3) are governed: Linux 6.2."""
# Everything that changes a tree; what only reads is left alone, so that nothing else breaks.
_WRITE_FILE, _REFER, _TRUNCATE = 1 << 1, 1 << 13, 1 << 14
_REMOVE_AND_MAKE: Final = sum(1 << bit for bit in range(4, 13))  # REMOVE_DIR to MAKE_SYM
_CHANGES: Final = _WRITE_FILE | _TRUNCATE | _REFER | _REMOVE_AND_MAKE
_ABSENT: Final = frozenset({errno.ENOSYS, errno.EOPNOTSUPP})
T = TypeVar("T")


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


# Keeps the interpreter's lock: none of these calls waits, and asking for it back takes longer.
_libc: Final = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
# Made once: a fleet asks for them with every file.
_WANTED: Final = _Ruleset(_CHANGES)
_SIZE: Final = ctypes.c_size_t(ctypes.sizeof(_WANTED))
_KIND: Final = ctypes.c_int(_PATH_BENEATH)
_NO_FLAGS: Final = ctypes.c_uint32(0)
_YES, _ZERO = ctypes.c_ulong(1), ctypes.c_ulong(0)


def _call(number: int, *arguments: Any) -> int:
    """Make a system call; the one place tests replace to play the kernel. Raises OSError."""
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def abi() -> int:
    """Return the kernel's Landlock version, 0 without one; raise OSError where it is forbidden."""
    if sys.platform != "linux":
        return 0
    try:
        return _call(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    except OSError as error:
        if error.errno in _ABSENT:
            return 0
        raise


def unavailable() -> str | None:
    """Return why threads cannot be restricted here, from a trial; None if they can."""
    try:
        found = abi()
        if found < LEAST_ABI:
            return f"this kernel has Landlock version {found}, {LEAST_ABI} is needed"
        slash = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            within(slash, lambda: None)
        finally:
            os.close(slash)
    except OSError as error:
        return f"this host forbids it: {error.strerror}"
    return None


def within(directory: int, act: Callable[[], T]) -> T:
    """Return what act returns in a thread that can change nothing but what lies below directory.

    Raises what act raises, and OSError where the thread could not be restricted; then act did
    not run.
    """
    made: list[T] = []
    failed: list[BaseException] = []
    over = _thread.allocate_lock()
    over.acquire()

    def confined() -> None:
        try:
            _restrict(directory)
            made.append(act())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            failed.append(error)
        finally:
            over.release()

    # The thread works with descriptors of ours: no handler may raise before it is done.
    with deferred():
        try:
            # Not threading.Thread: its book-keeping costs more than all of this thread's own work.
            _thread.start_new_thread(confined, ())
        except RuntimeError:
            # Not EAGAIN, which is what a tree that changes under a walk answers.
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) from None
        over.acquire()
    if failed:
        raise failed[0]
    return made[0]


def _restrict(directory: int) -> None:
    """Take from this thread every change of a file system but below directory."""
    ruleset = _call(_CREATE, ctypes.byref(_WANTED), _SIZE, _NO_FLAGS)
    try:
        rule = _PathBeneath(_CHANGES, directory)
        _call(_ADD, ctypes.c_int(ruleset), _KIND, ctypes.byref(rule), _NO_FLAGS)
        if _libc.prctl(_PR_SET_NO_NEW_PRIVS, _YES, _ZERO, _ZERO, _ZERO) != 0:
            raise OSError(ctypes.get_errno(), "no_new_privs was refused")
        _call(_RESTRICT, ctypes.c_int(ruleset), _NO_FLAGS)
    finally:
        os.close(ruleset)
