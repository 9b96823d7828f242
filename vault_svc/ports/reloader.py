"""Telling an agent that its secrets changed: the operator's own program, once a change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Change:
    """What changed, without a value: whose, in which jail, which generation, at which path."""

    tenant_id: str
    jail: str
    generation: int
    path: str


class Reloader(Protocol):
    """Runs what the operator wants to be run."""

    @property
    def configured(self) -> bool:
        """Whether there is anything to run."""
        ...

    def unfit(self) -> str:
        """Return why it could not be run now, "" if it could."""
        ...

    def tell(self, change: Change, wanted: Callable[[], bool]) -> str:
        """Run it for one change, bounded in time; return why it failed, "" if it did not.

        It is ended early once it is not wanted any more.
        """
        ...
