"""One request and its answer over a socket, read by llhttp, the parser of node.

requests and urllib3 take longer over a request than such a server does, and http.client longer
over a head than over all the rest. No request is ever sent twice, none follows a redirect, and an
answer has to be whole in its time.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote

from vault_svc.adapters.sources.vault.reading import BrokenOff, Reading
from vault_svc.adapters.sources.vault.timed import Plain, Tls, plain

_HEADER: Final = re.compile(r"[\t\x20-\x7e]*", re.ASCII)
_TARGET: Final = "!$%&'()*+,/:;=?@[]~"
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_MOST_HEAD: Final = 1 << 14
_AT_ONCE: Final = 1 << 16


class Channel:
    """A connection on which an answer, from its first byte to its last, has to arrive in time."""

    def __init__(
        self, host: str, port: int, seconds: float, context: ssl.SSLContext | None
    ) -> None:
        """Open it; context is that of TLS and decides what it trusts, None for plain text.

        Raises OSError, ssl.SSLError and TimeoutError among them.
        """
        self._seconds = seconds
        opened = socket.create_connection((host, port), seconds)
        self._sock: Plain | Tls = plain(opened, seconds)
        try:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context:
                self._sock = _over_tls(self._sock, host, context)
        except BaseException:
            self._sock.close()
            raise
        self._waiting = select.poll()
        self._waiting.register(self._sock, select.POLLIN)

    def close(self) -> None:
        """End it."""
        self._sock.close()

    def is_alive(self) -> bool:
        """Say whether a request may be sent: neither an end has come nor what nobody asked for."""
        unpacked = isinstance(self._sock, Tls) and self._sock.pending()
        return not (unpacked or self._waiting.poll(0))

    def ask(
        self, method: str, host: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        """Send a request; return its answer's head.

        Raises OSError, TimeoutError among them, BrokenOff for half a head, and ValueError for what
        can stand in no head.
        """
        self._sock.sendall(_request(method, host, target, headers, body))
        self._sock.give(self._seconds)
        return Answer(self._sock)


class Answer:
    """An answer's head, and its body while it is read."""

    def __init__(self, way: Plain | Tls) -> None:
        """Read the head from way."""
        self._way = way
        self._reading = Reading()
        while not self._reading.head_is_whole:
            if self._reading.size >= _MOST_HEAD:
                raise ConnectionError("the answer's head has no end")
            self._read(_MOST_HEAD)
        self.status_code = self._reading.status
        self.headers = self._reading.headers

    def iter_content(self, size: int = _AT_ONCE) -> Iterator[bytes]:
        """Yield the body as it comes; raise BrokenOff, or TimeoutError."""
        self._reading.refuse_odd_end()
        while True:
            if part := self._reading.taken():
                yield part
            elif self._reading.is_whole:
                return
            else:
                self._read_more(size)

    def leaves_free(self) -> bool:
        """Say whether another request may go over the same connection."""
        return self._reading.leaves_free

    def _read_more(self, size: int) -> None:
        try:
            self._read(size)
        except TimeoutError:
            raise
        except OSError:
            raise BrokenOff from None

    def _read(self, size: int) -> None:
        self._reading.feed(self._way.recv(size))


def _over_tls(sock: Plain, host: str, context: ssl.SSLContext) -> Tls:
    try:
        return context.wrap_socket(sock, server_hostname=host.rstrip("."))  # type: ignore[return-value]
    except ssl.SSLEOFError:  # whoever stands before a server that is away
        raise ConnectionError("it ended before TLS began") from None


def _request(
    method: str, host: str, target: str, headers: Mapping[str, str], body: bytes | None
) -> bytes:
    """Return a whole request; one record of TLS, one reading of the server's."""
    if not all(map(_HEADER.fullmatch, (host, *headers.values()))):  # an error must not quote it
        raise ValueError("a request's head would be more than one")
    if body is None and method in _WITH_BODY:
        body, headers = b"", {**headers, "Content-Length": "0"}
    lines = [f"{method} {quote(target, safe=_TARGET)} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "\r\n")).encode("ascii") + (body or b"")
