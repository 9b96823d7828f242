"""A child that works on something and tells its parent, by number, what of it is done.

Rule bent: a fork without exec. Why that is safe: the parent has no thread, the child runs what it
is given and nothing after it, leaves by `_exit`, and dies with its parent.
"""

from __future__ import annotations

import gc
import os
import signal
import struct
import time
from collections.abc import Callable, Collection, Iterator
from typing import Final, NoReturn

from vault_svc.hazmat.ending import NUMBERS, masked
from vault_svc.hazmat.tie import tie_to

_NUMBER: Final = struct.Struct("=H")
_CHUNK: Final = 4096
_DYING_SECONDS: Final = 0.2
_TICK: Final = 0.0005

Work = Callable[[Callable[[int], None]], None]


class Worker:
    """One child; `fileno` is readable when it has something to tell, or has ended."""

    def __init__(self, act: Work, not_its: Collection[int]) -> None:
        """Start act in a child, which closes the descriptors not_its; raise OSError.

        act gets what tells the number of a thing that is done, and must not raise.
        """
        tie = tie_to(os.getpid())
        self._reading, writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reading, False)
        try:
            with masked():
                self._child = os.fork()
                if self._child == 0:
                    _work(act, writing, tie, {self._reading, *not_its})
        except OSError:
            os.close(self._reading)
            raise
        finally:
            os.close(writing)
        self._left = b""
        self._is_gone = False

    def fileno(self) -> int:
        """Return what to wait for."""
        return self._reading

    def told(self) -> Iterator[int] | None:
        """Return the numbers that came, None when the child has ended and everything was told."""
        try:
            chunk = os.read(self._reading, _CHUNK)
        except BlockingIOError:
            return iter(())
        if not chunk:
            return None
        whole = self._left + chunk
        end = len(whole) - len(whole) % _NUMBER.size
        self._left = whole[end:]
        return (number for (number,) in _NUMBER.iter_unpack(whole[:end]))

    def end(self) -> list[int]:
        """Kill it, if it is still there; return the numbers that it told and nobody has heard."""
        os.kill(self._child, signal.SIGKILL)  # unreaped, so the number is still its own
        give_up = time.monotonic() + _DYING_SECONDS
        while not self.is_gone() and time.monotonic() < give_up:
            time.sleep(_TICK)
        unheard: list[int] = []
        while told := list(self.told() or ()):
            unheard += told
        os.close(self._reading)
        return unheard

    def is_gone(self) -> bool:
        """Say whether it is dead and forgotten: whoever waits in the kernel may die later."""
        self._is_gone = self._is_gone or os.waitpid(self._child, os.WNOHANG)[0] == self._child
        return self._is_gone


def _work(act: Work, writing: int, tie: Callable[[], None], not_its: Collection[int]) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)
        tie()
        for each in not_its:
            os.close(each)
        gc.freeze()  # what is here already stays shared
        gc.disable()
        act(lambda number: _tell(writing, number))
    finally:
        os._exit(0)


def _tell(writing: int, number: int) -> None:
    os.write(writing, _NUMBER.pack(number))
