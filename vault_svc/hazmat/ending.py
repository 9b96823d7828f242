"""Signals that end us wait until what must not be left behind is gone.

Rule bent: SIGTERM, SIGINT and SIGHUP don't act at once. Why that is safe: every wait of ours asks
`check` twenty times a second, and at the block's end the signal acts as it would have before.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final

NUMBERS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class EndedError(BaseException):
    """A signal asked us to end; never leaves the `held_back` block it unwinds."""


_asked: list[int] = []
_depth = 0


@contextmanager
def held_back() -> Iterator[None]:
    """Hold ending signals back in the block; let the first of them act once it is left.

    Only the main thread can, in others the block changes nothing. Ignored signals stay ignored.
    """
    global _depth  # noqa: PLW0603 - signal handlers are the process's, so is their count
    if threading.current_thread() is not threading.main_thread() or _depth:
        yield
        return
    before: dict[signal.Signals, Any] = {}
    _asked.clear()
    _depth = 1
    try:
        for number in NUMBERS:
            if signal.getsignal(number) not in {signal.SIG_IGN, None}:
                before[number] = signal.signal(number, _note)
        with suppress(EndedError):
            yield
    finally:
        _depth = 0
        for number, handler in before.items():
            signal.signal(number, handler)
        if _asked:
            signal.raise_signal(_asked[0])
    if _asked:  # a handler of the caller's that returns: what was asked for is not there
        raise EndedError


@contextmanager
def deferred() -> Iterator[None]:
    """Let handlers of signals that end us act when the block is left, however it is left.

    Only the main thread runs them, so in others the block changes nothing; nor where they are
    held back already.
    """
    if threading.current_thread() is not threading.main_thread() or _depth:
        yield
        return
    came: list[int] = []
    before: dict[signal.Signals, Any] = {}
    try:
        with masked():
            for number in NUMBERS:
                if callable(signal.getsignal(number)):
                    before[number] = signal.signal(number, lambda number, _: came.append(number))
        yield
    finally:
        with masked():  # a handler of the caller's may raise: not before all are theirs again
            for number, handler in before.items():
                signal.signal(number, handler)
            for asked in came:
                signal.raise_signal(asked)


@contextmanager
def masked() -> Iterator[None]:
    """Keep signals that end us from this thread for the block; they come when it is left."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check() -> None:
    """Raise EndedError if a signal was held back; for every place that waits."""
    if _depth and _asked and threading.current_thread() is threading.main_thread():
        raise EndedError


def _note(number: int, frame: FrameType | None) -> None:
    del frame
    _asked.append(number)
