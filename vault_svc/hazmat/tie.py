"""A child that dies with us, also when we are killed: what it holds open must not outlive us.

Rule bent: ctypes between fork and exec. Why that is safe: everything is looked up before the fork,
and the call is one system call with constant arguments (prctl(2), procctl(2)).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_P_PID: Final = 0
_PROC_PDEATHSIG_CTL: Final = 11  # FreeBSD sys/procctl.h


def tie_to(parent: int) -> Callable[[], None]:
    """Return what a child of parent calls between fork and exec; it raises OSError if it can't.

    The kernel's signal comes when the thread that forked ends, so that thread must wait.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    call: Callable[[], int]
    if sys.platform == "linux":
        zeros = [ctypes.c_ulong(0)] * 3
        call = lambda: libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), *zeros)  # noqa: E731
    elif sys.platform.startswith("freebsd"):
        number = ctypes.byref(ctypes.c_int(signal.SIGKILL))
        call = lambda: libc.procctl(_P_PID, ctypes.c_int64(0), _PROC_PDEATHSIG_CTL, number)  # noqa: E731
    else:
        call = lambda: 0  # noqa: E731

    def tie() -> None:
        if call() != 0:
            raise OSError(ctypes.get_errno(), "the kernel does not tie us to our parent")
        if os.getppid() != parent:  # it died before the kernel knew
            os._exit(1)

    return tie
