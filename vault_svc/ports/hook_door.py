"""The way in for hooks that let a resident process deliver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class HookCall(Protocol):
    """One call: its settings and words, and what its spawner said on stdin."""

    environment: dict[str, str]
    words: tuple[str, ...]
    stdin: bytes

    def answer(self, status: int, stdout: bytes, stderr: bytes) -> None:
        """Give the caller its exit status and what it is to say; whoever has gone is let go."""
        ...


class HookDoor(Protocol):
    """Takes calls until it is asked to end."""

    def serve(
        self,
        fits: Callable[[HookCall], bool],
        handle: Callable[[Sequence[HookCall], bool], None],
    ) -> None:
        """Hand calls that fit to handle, in child processes; the others' callers do it themselves.

        handle gets what came together, and whether the time for it is over; it must not raise.
        Whoever it leaves without an answer does it himself. Raises `busy` where another one serves.
        """
        ...
