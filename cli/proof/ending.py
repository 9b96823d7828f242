"""Signals that end the proof politely: they wait while something must not be left half done."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_POLITE: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ending:
    """Turns polite signals into exceptions, so that everything is cleaned up on the way out."""

    def __init__(self) -> None:
        """Begin with no signal and nothing held."""
        self._held = 0
        self._asked = 0

    @contextmanager
    def polite(self) -> Iterator[None]:
        """Handle the signals for a block; what they did before is restored after it."""
        kept = {number: signal.signal(number, self._leave) for number in _POLITE}
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Put off a signal until the end of the block: a child unknown to us would outlive us."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            if self._asked and not self._held:
                self._raise()

    def _leave(self, number: int, _frame: FrameType | None) -> None:
        self._asked = number
        if not self._held:
            self._raise()

    def _raise(self) -> None:
        number, self._asked = self._asked, 0
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)
