"""Sockets that read nothing more after a moment, and no head of an answer without end.

A socket's own timeout starts anew with every byte: a server that drips would hold a run, and the
locks of its tenants, for days. Of a head of megabytes http.client, which reads what comes through
a proxy, would reckon as long.
"""

from __future__ import annotations

import math
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

_MOST_HEAD: Final = 1 << 14

Head = TypeVar("Head")


class Until:
    """A socket that reads nothing more after a moment of the monotonic clock."""

    until = math.inf
    _left = math.inf

    def give(self, seconds: float | None) -> None:
        """Set the moment, so many seconds from now."""
        self.until = time.monotonic() + (seconds or math.inf)

    def head(self, seconds: float | None, read: Callable[[], Head]) -> Head:
        """Return the head of an answer, which has to be whole so many seconds from now.

        Raises ConnectionError for one that is more than a head ever is.
        """
        self.give(seconds)
        self._left = _MOST_HEAD
        try:
            return read()
        except RecursionError:  # headers are read as a mail's, with other mails in it
            raise ConnectionError("this is no HTTP") from None
        finally:
            self._left = math.inf

    def recv_into(self, *args: Any, **more: Any) -> int:
        """Read, in time; raise TimeoutError."""
        self._refuse_late()
        if self._left <= 0:
            raise ConnectionError("the answer's head has no end")
        got: int = super().recv_into(*args, **more)  # type: ignore[misc]
        self._left -= got
        return got

    def recv(self, *args: Any) -> bytes:
        """Read, in time; raise TimeoutError."""
        self._refuse_late()
        got: bytes = super().recv(*args)  # type: ignore[misc]
        return got

    def _refuse_late(self) -> None:
        if time.monotonic() > self.until:
            raise TimeoutError("the answer takes too long")


class Plain(Until, socket.socket):
    """Plain text, for this very host and for what a proxy says before TLS."""


class Tls(Until, ssl.SSLSocket):
    """TLS, by the one context of a session."""


def plain(made: socket.socket, seconds: float | None) -> Plain:
    """Return a socket as one that gives up so many seconds from now; made is used up."""
    bounded = Plain(made.family, made.type, made.proto, fileno=made.detach())
    bounded.settimeout(seconds)
    bounded.give(seconds)
    return bounded
