"""Which second layer a system has: the one place that knows; the first is the descriptors.

Linux restricts the one thread that writes (Landlock), FreeBSD a child that does (Capsicum).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from vault_svc.hazmat import landlock

if TYPE_CHECKING:  # made at each start otherwise, for nothing
    from collections.abc import Callable
    from typing import Protocol, TypeVar

    T = TypeVar("T")

    class Layer(Protocol):
        """A module that is a second layer: its name, and what a system must have for it."""

        NAME: str
        NEEDS: str

        def unavailable(self) -> str | None:
            """Return why it cannot be used here, from a trial; None if it can."""
            ...

        def within(self, directory: int, act: Callable[[], T]) -> T:
            """Return what act returns where it can change nothing but what lies below directory.

            Raises what act raises, and OSError where it could not run.
            """
            ...


def choose(platform: str = sys.platform) -> Layer:
    """Return the layer of a system."""
    if not platform.startswith("freebsd"):
        return landlock
    from vault_svc.hazmat import capsicum

    return capsicum
