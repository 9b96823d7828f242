"""Work in a child that is killed when its time is up: whoever waits for us has an answer by then.

Rule bent: fork without exec. Why that is safe: it happens before any thread or connection is there,
the child ends by `_exit`, and a kill at any moment is what every write of ours is made for.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from typing import Final

from vault_svc.hazmat.tie import tie_to

_CHUNK: Final = 65_536
_MOST_SECONDS: Final = 1e6
"""The kernel's waits take no more than three weeks."""


def bounded(act: Callable[[], bytes], seconds: float, *, max_bytes: int = 1 << 20) -> bytes | None:
    """Return what act returns in a child of ours; None if it died before it had an answer.

    act must not raise. The child is gone afterwards, and dies with us if we are killed. Raises
    TimeoutError when the time is up.
    """
    tie = tie_to(os.getpid())
    reading, writing = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _answer(act, writing, tie)
    os.close(writing)
    try:
        said = _read(reading, time.monotonic() + seconds, max_bytes)
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)  # unreaped, so the number is still its own
        os.waitpid(child, 0)
    return said


def _answer(act: Callable[[], bytes], writing: int, tie: Callable[[], None]) -> None:
    try:
        tie()
        left = memoryview(act())
        while left:
            left = left[os.write(writing, left) :]
    finally:
        os._exit(0)


def _read(reading: int, give_up: float, max_bytes: int) -> bytes | None:
    """Return everything up to the end; None for nothing or too much."""
    said = bytearray()
    while len(said) <= max_bytes:
        left = give_up - time.monotonic()
        if left <= 0 or not select.select([reading], [], [], min(left, _MOST_SECONDS))[0]:
            raise TimeoutError
        chunk = os.read(reading, _CHUNK)
        if not chunk:
            return bytes(said) or None
        said += chunk
    return None
