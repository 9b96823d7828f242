"""What a hook says to whoever serves it, and what it is answered."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from typing import Final

_FIRST_LINE: Final = re.compile(rb"(\d{1,9}) (\d{1,9})\n")
_SEND_SECONDS: Final = 1.0


class Call:
    """A call that was read to its end."""

    def __init__(self, connection: socket.socket, head: bytes, stdin: bytes, now: float) -> None:
        """Take the caller's connection and what it said."""
        pairs, _, words = head.decode("utf-8", "surrogateescape").partition("\0\0")
        self.environment = dict(pair.split("=", 1) for pair in pairs.split("\0") if "=" in pair)
        self.words = tuple(words.split("\0"))
        self.stdin = stdin
        self.since = now
        self.connection = connection
        self.tell: Callable[[], None] = lambda: None

    def answer(self, status: int, stdout: bytes, stderr: bytes) -> None:
        """Give the caller its exit status and what it is to say.

        Told first: whom a kill between the two leaves without does it himself, nobody gets two.
        """
        self.tell()
        whole = b"%d %d %d\n%b%b" % (status, len(stdout), len(stderr), stdout, stderr)
        send(self.connection, whole)


def parsed(connection: socket.socket, said: bytes) -> Call | None:
    """Return the call; None for what is none."""
    found = _FIRST_LINE.match(said)
    if not found:
        return None
    (head, stdin), rest = map(int, found.groups()), said[found.end() :]
    if len(rest) != head + stdin:
        return None
    return Call(connection, rest[:head], rest[head:], time.monotonic())


def send(connection: socket.socket, whole: bytes) -> bool:
    """Say whether it was sent: whoever has gone is let go, and whoever does not read."""
    try:
        connection.settimeout(_SEND_SECONDS)
        connection.sendall(whole)
    except OSError:
        return False
    return True
