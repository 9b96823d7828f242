"""Time, as a port so that tests can turn it by hand."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Wall time for records, monotonic time for durations."""

    def now(self) -> str:
        """Return the time as RFC 3339 UTC with milliseconds, as 2026-11-21T03:24:00.000Z."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only rise."""
        ...
