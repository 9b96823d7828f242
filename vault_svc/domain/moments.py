"""Arithmetic with the times of records: RFC 3339 UTC with milliseconds, as the clock gives them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def after(moment: str, seconds: float) -> str:
    """Return the moment that is seconds later."""
    return written(_read(moment) + timedelta(seconds=seconds))


def seconds_between(earlier: str, later: str) -> float:
    """Return the seconds from earlier to later; negative if they are the other way round."""
    return (_read(later) - _read(earlier)).total_seconds()


def written(moment: datetime) -> str:
    """Return an aware datetime as records have it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _read(moment: str) -> datetime:
    return datetime.fromisoformat(moment)
