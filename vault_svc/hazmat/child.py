"""An act in a forked child that has given up everything but one directory; for `capsicum`.

Rule bent: a fork without exec, also beside other threads. Why that is safe: the child runs one act
that takes no lock of ours, holds two descriptors, ends by `_exit`, and is killed when its time is
up; a kill at any moment is what every write of ours is made for. What comes back is data.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Final, NoReturn, TypeVar

from vault_svc.hazmat import answers
from vault_svc.hazmat.answers import FaultError
from vault_svc.hazmat.ending import deferred, masked
from vault_svc.hazmat.tie import tie_to

T = TypeVar("T")
SECONDS: Final = 300.0
_HEAD_BYTES: Final = 8
_CHUNK: Final = 65_536
_STREAMS: Final = 3
_MANY: Final = 1 << 20  # where a system names no limit


def within(
    directory: int,
    act: Callable[[], T],
    enter: Callable[[int, int], None],
    *,
    seconds: float = SECONDS,
) -> T:
    """Return what act returns in a child of ours, which has called enter before.

    enter takes the directory and the pipe that the answer goes into: the two descriptors that the
    child still holds. Raises what act raises, OSError where there was no child to be had, it died
    (ENOMEM) or was killed when its time was up (ETIMEDOUT), FaultError.
    """
    tie = tie_to(os.getpid())
    # The child must not be left behind: no handler may raise before it is over.
    with deferred():
        reading, writing = os.pipe()
        try:
            try:
                child = _forked(directory, act, enter, writing, tie)
            finally:
                os.close(writing)
            try:
                said = _read(reading, time.monotonic() + seconds)
            finally:
                _end(child)
        finally:
            os.close(reading)
    answer: T = answers.read(said)
    return answer


def _forked(
    directory: int,
    act: Callable[[], object],
    enter: Callable[[int, int], None],
    writing: int,
    tie: Callable[[], None],
) -> int:
    try:
        with masked():  # what ends us must not end the child in the middle: we wait for it
            child = os.fork()
            if child == 0:
                _work(directory, act, enter, writing, tie)
            return child
    except OSError:
        # Not EAGAIN, which is what a tree that changes under a walk answers.
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) from None


def _work(
    directory: int,
    act: Callable[[], object],
    enter: Callable[[int, int], None],
    writing: int,
    tie: Callable[[], None],
) -> NoReturn:
    try:
        try:
            tie()
            _let_go({directory, writing})
            enter(directory, writing)
            said = answers.made(act())
        except BaseException as error:  # noqa: BLE001 - raised again in the process that waits
            said = answers.failed(error)
        left = memoryview(len(said).to_bytes(_HEAD_BYTES, "big") + said)
        while left:
            left = left[os.write(writing, left) :]
    finally:
        os._exit(0)


def _let_go(keep: set[int]) -> None:
    """Close every descriptor but those of keep; the streams lead nowhere."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for stream in range(_STREAMS):
        if stream not in keep:
            os.dup2(null, stream)
    low = _STREAMS
    for fd in sorted(keep):
        os.closerange(low, fd)
        low = max(low, fd + 1)
    most = os.sysconf("SC_OPEN_MAX")
    os.closerange(low, most if most > 0 else _MANY)


def _read(reading: int, give_up: float) -> bytes:
    """Return the child's whole answer; raise OSError if it died before it had one, or hangs."""
    said, waiting = bytearray(), select.poll()
    waiting.register(reading, select.POLLIN)
    while len(said) < _HEAD_BYTES or len(said) < _whole(said):
        left = give_up - time.monotonic()
        if left <= 0 or not waiting.poll(left * 1000):
            raise OSError(errno.ETIMEDOUT, "the child that writes hangs")
        chunk = os.read(reading, _CHUNK)
        if not chunk:
            raise OSError(errno.ENOMEM, "the child that writes died")
        said += chunk
    return bytes(said[_HEAD_BYTES:])


def _whole(said: bytes | bytearray) -> int:
    size = int.from_bytes(said[:_HEAD_BYTES], "big")
    if size > answers.MOST_BYTES:
        raise FaultError("the child that writes answered too much")
    return _HEAD_BYTES + size


def _end(child: int) -> None:
    os.kill(child, signal.SIGKILL)  # unreaped, so the number is still its own
    os.waitpid(child, 0)
