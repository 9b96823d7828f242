"""One server is asked at a measured pace: refused for now means again later, within bounds."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final, TypeVar

from vault_svc.adapters.sources.vault import failures
from vault_svc.adapters.sources.vault.options import Options
from vault_svc.adapters.sources.vault.refusal import Refusal
from vault_svc.errors import ColibriError

_AGAIN: Final = frozenset(
    {"source_unreachable", "source_rate_limited", "source_sealed", "source_incomplete"}
)
_ONE_ANSWER: Final = "source_incomplete"
_MOST_DOUBLINGS: Final = 6

Answer = TypeVar("Answer")


class Governor:
    """The patience of one session, shared by its threads.

    A request waits for the server within the limit. The first that waited in vain speaks for all
    that follow: a thousand tenants of a sealed server wait together, not one after the other.
    """

    def __init__(self, options: Options, sleep: Callable[[float], None]) -> None:
        """Take the limits; sleep waits some seconds."""
        self._options = options
        self._sleep = sleep
        self._over: ColibriError | None = None

    def call(self, ask: Callable[[], Answer]) -> Answer:
        """Return ask's answer; ask again while the server is only slow, sealed or away.

        Raises what ask raised last, and Refusal for what concerns this request alone.
        """
        waited, attempt, of_all = 0.0, 0, True
        while True:
            if self._over:
                raise self._over
            try:
                return ask()
            except Refusal as refusal:
                error = failures.of_server(refusal)
                if error is None:
                    raise
                # A tenant's path that the server trips over (500) says nothing of the others'.
                of_all = bool(refusal.doing) or not failures.is_broken_path(refusal)
                least = refusal.retry_after
            except ColibriError as raised:
                if raised.code not in _AGAIN:
                    raise
                error, least, of_all = raised, 0.0, True
            pause = max(least, self._pause(attempt))
            waited, attempt = waited + pause, attempt + 1
            if waited > self._options.patience_seconds:
                if of_all and error.code != _ONE_ANSWER:
                    self._over = error
                raise error from None
            self._sleep(pause)

    def _pause(self, attempt: int) -> float:
        # Half to three halves: what was refused together comes back apart.
        jitter = 0.5 + secrets.randbelow(1001) / 1000
        return float(self._options.backoff_seconds * 2 ** min(attempt, _MOST_DOUBLINGS) * jitter)
