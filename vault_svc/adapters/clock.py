"""The system's clock."""

from __future__ import annotations

import time


class SystemClock:
    """Wall time as RFC 3339 UTC, monotonic time in seconds."""

    def now(self) -> str:
        """Return the time with milliseconds, for example 2026-11-21T03:24:00.000Z."""
        seconds, rest = divmod(time.time_ns(), 1_000_000_000)
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        return f"{text}.{rest // 1_000_000:03d}Z"

    def monotonic(self) -> float:
        """Return seconds that only rise."""
        return time.monotonic()
