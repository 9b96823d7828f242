"""FreeBSD's second layer: a child in capability mode writes, and reaches nothing else.

Rule bent: ctypes, on structures of the kernel's. Why that is safe: constants as in sys/capsicum.h;
a child that could not be restricted does nothing. Nothing here has run on FreeBSD yet: see
runbooks/freebsd-acceptance.md. Sources: cap_enter(2), cap_rights_limit(2), rights(4).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Final, TypeVar

from vault_svc.hazmat import child
from vault_svc.hazmat.answers import FaultError

T = TypeVar("T")
NAME = "Capsicum"
NEEDS = "FreeBSD 13 or newer"
_READ, _WRITE, _SEEK, _CREATE = 0x1, 0x2, 0x4 | 0x8, 0x40
_FSYNC, _FTRUNCATE, _LOOKUP = 0x100, 0x200, 0x400
_FCHMOD, _FCHOWN, _FCNTL, _FLOCK, _FSTAT = 0x2000, 0x4000, 0x8000, 0x10000, 0x80000
_MKDIRAT, _RENAMEAT_SOURCE, _UNLINKAT = 0x800000, 0x4000000, 0x10000000
_RENAMEAT_TARGET: Final = 0x40000000000
TREE: Final = (
    *(_READ, _WRITE, _SEEK, _CREATE, _FSYNC, _FTRUNCATE, _LOOKUP, _FCHMOD, _FCHOWN, _FCNTL),
    *(_FLOCK, _FSTAT, _MKDIRAT, _RENAMEAT_SOURCE, _UNLINKAT, _RENAMEAT_TARGET),
)
"""What the confined write does with the directory, and with what it opens below it: no more."""
_FIRST, _SECOND = 1 << 57, 1 << 58  # CAPRIGHT: which of the two words it is


class Rights(ctypes.Structure):
    """cap_rights_t, version 0; every right we ask for is of the first word."""

    _fields_ = (("words", ctypes.c_uint64 * 2),)


_libc: Final = ctypes.CDLL(None, use_errno=True)


def rights(*wanted: int) -> Rights:
    """Return a set of rights."""
    bits = _FIRST
    for each in wanted:
        bits |= each
    return Rights((ctypes.c_uint64 * 2)(bits, _SECOND))


def enter(directory: int, answer: int) -> None:
    """Give up all but these two descriptors, and what is not needed of them; raise OSError."""
    for fd, wanted in ((directory, TREE), (answer, (_WRITE,))):
        _must(_libc.cap_rights_limit(ctypes.c_int(fd), ctypes.byref(rights(*wanted))))
    _must(_libc.cap_enter())


def within(directory: int, act: Callable[[], T]) -> T:
    """Return what act returns in a child that reaches nothing but what lies below directory.

    Raises what act raises, and OSError where there was no such child; then act did not run.
    """
    return child.within(directory, act, enter)


def unavailable() -> str | None:
    """Return why children cannot be restricted here, from a trial; None if they can."""
    if not hasattr(_libc, "cap_enter"):
        return "this system has no Capsicum"
    return refused_everything(within)


def refused_everything(within: Callable[[int, Callable[[], bool]], bool]) -> str | None:
    """Return why a layer is none: from a trial that opens what every host has, by its path."""
    slash = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return "the child can still reach every path" if within(slash, _reaches) else None
    except (OSError, FaultError) as error:
        return f"this host forbids it: {getattr(error, 'strerror', None) or error}"
    finally:
        os.close(slash)


def _reaches() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    return True


def _must(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
