"""A child process measured: wall time and peak memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

COLIBRI = str(Path(sys.executable).with_name("colibri"))


def child(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[float, float, int]:
    """Return seconds, peak MiB and exit status of a process whose output is dropped."""
    started = time.monotonic()
    process = subprocess.Popen(argv, env=dict(environ), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    return time.monotonic() - started, usage.ru_maxrss / 1024, os.waitstatus_to_exitcode(status)


def median(run: Callable[[], float], times: int = 9) -> float:
    run()  # warm the caches
    return statistics.median(run() for _ in range(times))
