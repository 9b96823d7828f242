"""A server's connections: a bounded number, each used again while it answers whole."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from queue import Empty, LifoQueue
from typing import Final
from urllib.parse import urlsplit

from vault_svc.adapters.sources.vault.exchange import Answer, Channel

_PORTS: Final = {"https": 443, "http": 80}


class Connections:
    """Asks at most so many things at once; TLS is by context alone."""

    def __init__(self, context: ssl.SSLContext, most: int) -> None:
        """Open nothing yet."""
        self._context = context
        self._slots: LifoQueue[tuple[str, Channel] | None] = LifoQueue()
        for _ in range(most):
            self._slots.put(None)

    @contextmanager
    def ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, seconds: float
    ) -> Iterator[Answer]:
        """Send a request and yield its answer, which has to be whole in about so many seconds.

        Raises OSError (ssl.SSLError and TimeoutError among them), and BrokenOff for the body.
        """
        origin, target = _cut(url)
        found, answer = self._slots.get(), None
        try:
            if found and (found[0] != origin or not found[1].is_alive()):
                found[1].close()
                found = None
            found = found or (origin, self._opened(origin, seconds))
            answer = found[1].ask(method, origin.partition("://")[2], target, headers, body)
            yield answer
        finally:
            if found and not (answer and answer.leaves_free()):
                found[1].close()
                found = None
            self._slots.put(found)

    def close(self) -> None:
        """End every connection that nobody uses now."""
        idle = []
        with suppress(Empty):
            while True:
                idle.append(self._slots.get_nowait())
        for found in idle:
            if found:
                found[1].close()
            self._slots.put(None)

    def _opened(self, origin: str, seconds: float) -> Channel:
        parts = urlsplit(origin)
        context = self._context if parts.scheme == "https" else None
        port = parts.port or _PORTS[parts.scheme]
        return Channel(parts.hostname or "", port, seconds, context)


def _cut(url: str) -> tuple[str, str]:
    """Return where a request goes, and what it asks there."""
    scheme, _, rest = url.partition("://")
    host, _, target = rest.partition("/")
    return f"{scheme}://{host}", f"/{target}"
