"""One line of a doctor's report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, `ok`, `warn` or `fail`, what was seen, and what to do about it."""

    name: str
    state: str
    seen: str
    hint: str = ""
    code: str = ""
