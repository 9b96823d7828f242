"""A server's connections: a bounded number, each used again while it answers whole."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from queue import Empty, LifoQueue
from typing import Final
from urllib.parse import urlsplit

from vault_svc.adapters.sources.vault.exchange import Answer, Channel, formed

_IDLE_SECONDS: Final = 1.0
_PORTS: Final = {"https": 443, "http": 80}


class Connections:
    """Asks at most so many things at once; TLS is by context alone."""

    def __init__(self, context: ssl.SSLContext, most: int) -> None:
        """Open nothing yet."""
        self._context = context
        self._slots: LifoQueue[Channel | None] = LifoQueue()
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
        host = origin.partition("://")[2]
        request = formed(method, target, host, headers, body)
        channel, answer = self._slots.get(), None
        try:
            if channel and (channel.origin != origin or not channel.is_alive(_IDLE_SECONDS)):
                channel.close()
                channel = None
            channel = channel or self._opened(origin, seconds)
            answer = channel.ask(request, time.monotonic() + seconds)
            yield answer
        finally:
            if channel and not (answer and answer.leaves_free()):
                channel.close()
                channel = None
            self._slots.put(channel)

    def close(self) -> None:
        """End every connection that nobody uses now."""
        idle = []
        with suppress(Empty):
            while True:
                idle.append(self._slots.get_nowait())
        for channel in idle:
            if channel:
                channel.close()
            self._slots.put(None)

    def _opened(self, origin: str, seconds: float) -> Channel:
        parts = urlsplit(origin)
        host = (parts.hostname or "").rstrip(".")
        port = parts.port or _PORTS[parts.scheme]
        sock = socket.create_connection((host, port), seconds)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if parts.scheme == "https":
                sock = self._context.wrap_socket(sock, server_hostname=host)
            return Channel(sock, origin)
        except BaseException:
            sock.close()
            raise


def _cut(url: str) -> tuple[str, str]:
    """Return where a request goes, and what it asks there."""
    scheme, _, rest = url.partition("://")
    host, _, target = rest.partition("/")
    return f"{scheme}://{host}", f"/{target}"
