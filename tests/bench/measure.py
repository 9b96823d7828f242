"""A child process measured: wall time and peak memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICK = 0.005
COLIBRI = str(Path(sys.executable).with_name("colibri"))


@dataclass(frozen=True, slots=True)
class Ran:
    """One process and those it made: seconds, wall and processor, peak MiB, exit status.

    peak: of all of them together, what they share counted once.
    """

    wall: float
    cpu: float
    peak: float
    status: int


def child(argv: Sequence[str], environ: Mapping[str, str]) -> Ran:
    """Run a process whose output is dropped."""
    started = time.monotonic()
    process = subprocess.Popen(
        argv, env=dict(environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    peak, ended = 0.0, 0
    while not ended:
        # Not ru_maxrss: a child's begins with the peak of the process that started it.
        peak = max(peak, _peak(process.pid))
        time.sleep(_TICK)
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    wall = time.monotonic() - started
    cpu = usage.ru_utime + usage.ru_stime
    return Ran(wall, cpu, peak, os.waitstatus_to_exitcode(status))


def _peak(pid: int) -> float:
    """Return a process's peak so far, or what it and its children have now; in MiB, 0 if ended."""
    made = children(pid)
    return together(pid, *made) if made else high_water(pid)


def high_water(pid: int) -> float:
    """Return the most memory a process has had so far; in MiB, 0 if ended."""
    return _kilobytes(pid, "status", "VmHWM:") / 1024


def together(*pids: int) -> float:
    """Return the memory of processes now, what they share counted once; in MiB."""
    return sum(_kilobytes(each, "smaps_rollup", "Pss:") for each in pids) / 1024


def children(pid: int) -> list[int]:
    """Return the processes that a process's first thread started."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in found]


def _kilobytes(pid: int, file: str, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(field)), 0)


def interleaved(
    commands: Mapping[str, Sequence[str]], environ: Mapping[str, str], times: int = 15
) -> dict[str, tuple[float, float]]:
    """Return each command's median seconds, wall and processor: taken in turn, as others work."""
    runs: dict[str, list[Ran]] = {name: [] for name in commands}
    for number in range(times + 1):
        for name, argv in commands.items():
            ran = child(argv, environ)
            if ran.status:
                raise SystemExit(f"{name}: exit status {ran.status}")
            if number:  # the first round warms the caches
                runs[name].append(ran)
    return {
        name: (statistics.median(r.wall for r in each), statistics.median(r.cpu for r in each))
        for name, each in runs.items()
    }
