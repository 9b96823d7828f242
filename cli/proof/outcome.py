"""What a step of the proof can come to, and the figures that the steps count."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

OK: Final = "ok"
FAILED: Final = "failed"
NOT_SHOWN: Final = "not_shown"


class FailedError(Exception):
    """A step did not hold; the text says what was seen instead."""


class NotShownError(Exception):
    """Neither held nor failed: this account or host cannot show it; the text says why."""


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the checklist."""

    name: str
    title: str
    state: str
    seen: str
    elapsed_ms: float

    def body(self) -> dict[str, Any]:
        """Return the step as the receipt has it."""
        return {
            "name": self.name,
            "state": self.state,
            "seen": self.seen,
            "elapsed_ms": round(self.elapsed_ms, 1),
        }


@dataclass(slots=True)
class Figures:
    """Counts of the race and of the kills; histogram maps outcomes of raced attempts to counts."""

    attempts: int = 0
    escapes: int = 0
    exchanges: int = 0
    exchange_seconds: float = 0.0
    naive_attempts: int = 0
    naive_losses: int = 0
    kills: int = 0
    confined: str = ""
    histogram: Counter[str] = field(default_factory=Counter)

    def body(self) -> dict[str, Any]:
        """Return the figures as the receipt has them."""
        rate = self.exchanges / self.exchange_seconds if self.exchange_seconds else 0
        return {
            "attempts": self.attempts,
            "escapes": self.escapes,
            "exchanges": self.exchanges,
            "exchanges_per_second": round(rate),
            "attacker_confined_by": self.confined,
            "naive": {"attempts": self.naive_attempts, "escapes": self.naive_losses},
            "kills": self.kills,
            "histogram": dict(self.histogram.most_common()),
        }


def need(held: object, otherwise: str) -> None:
    """Raise FailedError with what was seen unless held is true."""
    if not held:
        raise FailedError(otherwise)
