"""Keep this process's memory out of core dumps and other processes' reach.

Rule bent: ctypes into libc. Why that is safe: constants and argument types are fixed here, and
the result is checked. Children start clean, because exec resets the flag (prctl(2)).
"""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import sys

from vault_svc.errors import ColibriError

_PR_SET_DUMPABLE = 4  # linux/prctl.h
_P_PID, _PROC_TRACE_CTL, _PROC_TRACE_CTL_DISABLE = 0, 7, 2  # FreeBSD sys/procctl.h


@functools.cache
def protect_process() -> None:
    """Forbid core dumps and same-uid debuggers, once, before the first secret is read.

    RLIMIT_CORE 0 is also the children's; the dumpable flag (prctl(2), procctl(2)) is ours only.
    Raises `internal` if the kernel refuses, which it has no reason to.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux":
        failed = libc.prctl(_PR_SET_DUMPABLE, *(ctypes.c_ulong(0) for _ in range(4)))
    elif sys.platform.startswith("freebsd"):
        choice = ctypes.c_int(_PROC_TRACE_CTL_DISABLE)
        failed = libc.procctl(
            _P_PID, ctypes.c_int64(os.getpid()), _PROC_TRACE_CTL, ctypes.byref(choice)
        )
    else:
        return
    if failed:
        reason = os.strerror(ctypes.get_errno())
        raise ColibriError("internal", f"this process could not be protected: {reason}")
