"""Signals that end us wait until what must not be left behind is gone.

Rule bent: SIGTERM, SIGINT and SIGHUP don't act at once. Why that is safe: every wait of ours asks
`check` twenty times a second, and at the block's end the signal acts as it would have before.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
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
def gated() -> Iterator[None]:
    """Make `deferred` cheap in the block: handlers ask whether they may act, nobody moves them.

    For a caller that defers thousands of times. Only the main thread can, as with `held_back`.
    """
    if not _decides() or _gate.before:
        yield
        return
    try:
        try:
            _gate.put_up()
            yield
        finally:
            _gate.take_down()
    finally:
        _gate.take_down()  # again, should a handler have raised before the first was through


def deferred() -> AbstractContextManager[None]:
    """Let handlers of signals that end us act when the block is left, however it is left.

    Only the main thread runs them, so in others the block changes nothing; nor where they are
    held back already.
    """
    if not _decides():
        return nullcontext()
    return _gate if _gate.before else _behind_a_gate()


@contextmanager
def _behind_a_gate() -> Iterator[None]:
    with gated(), _gate:
        yield


def _decides() -> bool:
    """Say whether handlers run in this thread, and none holds them back."""
    return not _depth and threading.current_thread() is threading.main_thread()


class _Gate(AbstractContextManager[None]):
    """Handlers wait while it is entered, and act when the last block is left."""

    def __init__(self) -> None:
        self.before: dict[int, Any] = {}
        self._inside = 0
        self._came: list[int] = []

    def __enter__(self) -> None:
        self._inside += 1

    def __exit__(self, *exc: object) -> None:
        self._inside -= 1
        while self._came and not self._inside:
            self.pass_on(self._came.pop(0), None)

    def put_up(self) -> None:
        """Stand before the handlers there are; ignored signals stay ignored."""
        with masked():
            for number in NUMBERS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self.before[number] = handler  # first: another thread may take a signal now
                    signal.signal(number, self.pass_on)

    def take_down(self) -> None:
        """Give the handlers back what is theirs, and what came and was not passed on."""
        with masked():
            for number, handler in self.before.items():
                signal.signal(number, handler)
            self.before = {}
            came, self._came = self._came, []
            for asked in came:
                signal.raise_signal(asked)

    def pass_on(self, number: int, frame: FrameType | None) -> None:
        """Act as the handler that was there would, now or later."""
        if self._inside:
            self._came.append(number)
        elif number in self.before:
            self.before[number](number, frame)
        else:  # taken down meanwhile
            signal.raise_signal(number)


_gate: Final = _Gate()


@contextmanager
def masked() -> Iterator[None]:
    """Keep signals that end us from this thread for the block; they come when it is left."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        # Inside: it runs handlers that are due once it has blocked, and one of them may raise.
        signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
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
