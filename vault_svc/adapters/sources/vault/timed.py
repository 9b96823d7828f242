"""Sockets that read nothing more after a moment.

A socket's own timeout starts anew with every byte: a server that drips would hold a run, and the
locks of its tenants, for days.
"""

from __future__ import annotations

import math
import socket
import ssl
import time
from typing import Any


class Until:
    """A socket that reads nothing more after a moment of the monotonic clock."""

    until = math.inf

    def recv_into(self, *args: Any, **more: Any) -> int:
        """Read, in time; raise TimeoutError."""
        if time.monotonic() > self.until:
            raise TimeoutError("the answer takes too long")
        return super().recv_into(*args, **more)  # type: ignore[misc, no-any-return]


class Plain(Until, socket.socket):
    """Plain text, for this very host and for what a proxy says before TLS."""


class Tls(Until, ssl.SSLSocket):
    """TLS, by the one context of a session."""


def plain(made: socket.socket, seconds: float | None) -> Plain:
    """Return a socket as one that gives up so many seconds from now; made is used up."""
    bounded = Plain(made.family, made.type, made.proto, fileno=made.detach())
    bounded.settimeout(seconds)
    bounded.until = time.monotonic() + (seconds or math.inf)
    return bounded
