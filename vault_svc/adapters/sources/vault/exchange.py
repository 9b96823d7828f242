"""One request and its answer: HTTP/1.1 as far as Vault and OpenBao speak it.

requests and urllib3 take longer over a request than such a server does. Nothing is lenient here:
what is not understood ends the connection, and no request is ever sent twice.
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote

_READ: Final = 1 << 14
_MOST_HEAD: Final = 1 << 16
_MOST_LINE: Final = 256
_MOST_DIGITS: Final = 15
_FINAL: Final = 200
_EMPTY: Final = frozenset({204, 304})
_ONCE: Final = ("content-length", "transfer-encoding")
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: .*)?")
_HEADER: Final = re.compile(r"[\t\x20-\x7e]*", re.ASCII)
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{1,12}")
_TARGET: Final = "!$%&'()*+,/:;=?@[]~"


class BrokenOff(Exception):  # noqa: N818 - what happened to the answer
    """The answer began, and its end never came or makes no sense."""


def formed(
    method: str, target: str, host: str, headers: Mapping[str, str], body: bytes | None
) -> bytes:
    """Return a request as it is sent; raise ValueError for what can stand in no head."""
    lines = [f"{method} {quote(target, safe=_TARGET)} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if not all(map(_HEADER.fullmatch, lines)):
        raise ValueError("a request's head would be more than one")
    return "\r\n".join((*lines, "\r\n")).encode("ascii") + (body or b"")


class Channel:
    """A connection to origin; what was read of it and not used is held."""

    def __init__(self, sock: socket.socket, origin: str) -> None:
        """Take a socket whose every read ends in its own timeout."""
        self.origin = origin
        self._sock = sock
        self._held = b""
        self._until = 0.0
        self._used = time.monotonic()

    def close(self) -> None:
        """End the connection."""
        self._sock.close()

    def is_alive(self, idle_seconds: float) -> bool:
        """Say whether a request may be sent: one that waited long may have been ended meanwhile."""
        if time.monotonic() - self._used < idle_seconds:
            return True
        waiting = select.poll()
        waiting.register(self._sock, select.POLLIN)
        return not waiting.poll(0)

    def ask(self, request: bytes, until: float) -> Answer:
        """Send a request; return its answer's head. Nothing more is read after until.

        Raises OSError, TimeoutError among them.
        """
        self._until = until
        self._sock.sendall(request)
        while True:
            newer, status, headers = _head(self._line(b"\r\n\r\n", _MOST_HEAD))
            if status >= _FINAL:
                return Answer(self, status, headers, keeps=newer)

    def is_free(self) -> bool:
        """Note the time; say whether all that came was used."""
        self._used = time.monotonic()
        return not self._held

    def exactly(self, size: int) -> Iterator[bytes]:
        """Yield so many bytes."""
        while size:
            if not self._held and not self._more():
                raise BrokenOff
            part, self._held = self._held[:size], self._held[size:]
            size -= len(part)
            yield part

    def chunks(self) -> Iterator[bytes]:
        """Yield the chunks of a body; trailers are read and mean nothing."""
        while True:
            digits = self._line(b"\r\n", _MOST_LINE).partition(b";")[0].strip()
            if not _HEX.fullmatch(digits):
                raise BrokenOff
            size = int(digits, 16)
            yield from self.exactly(size)
            if size and self._line(b"\r\n", _MOST_LINE):
                raise BrokenOff
            if not size:
                break
        read = 0
        while line := self._line(b"\r\n", _MOST_HEAD):
            read += len(line)
            if read > _MOST_HEAD:
                raise BrokenOff

    def rest(self) -> Iterator[bytes]:
        """Yield all until the other side ends."""
        while self._held or self._more():
            part, self._held = self._held, b""
            yield part

    def _line(self, end: bytes, most: int) -> bytes:
        while (at := self._held.find(end)) < 0:
            if len(self._held) > most or not self._more():
                raise ConnectionError("this is no HTTP")
        line, self._held = self._held[:at], self._held[at + len(end) :]
        return line

    def _more(self) -> bool:
        # A socket's own timeout starts anew with every byte: a server may drip.
        if time.monotonic() > self._until:
            raise TimeoutError("the answer takes too long")
        got = self._sock.recv(_READ)
        self._held += got
        return bool(got)


class Answer:
    """An answer's head, with names in lower case, and its body while it is read."""

    def __init__(
        self, channel: Channel, status: int, headers: Mapping[str, str], *, keeps: bool
    ) -> None:
        """Take what was read; keeps says that the connection outlives the answer."""
        self.status_code = status
        self.headers = headers
        self._channel = channel
        self._keeps = keeps and "close" not in headers.get("connection", "").lower()
        self._whole = False

    def iter_content(self, _size: int) -> Iterator[bytes]:
        """Yield the body as it comes; raise BrokenOff, or TimeoutError."""
        try:
            yield from self._parts()
        except TimeoutError:
            raise
        except OSError:
            raise BrokenOff from None
        self._whole = True

    def leaves_free(self) -> bool:
        """Say whether another request may go over the same connection."""
        return self._whole and self._keeps and self._channel.is_free()

    def _parts(self) -> Iterator[bytes]:
        coding, length = (self.headers.get(name) for name in reversed(_ONCE))
        if self.status_code in _EMPTY:
            return
        if coding is not None:
            # Two lengths may differ, and the rest would be taken for the next answer.
            if coding.lower() != "chunked" or length is not None:
                raise BrokenOff
            yield from self._channel.chunks()
        elif length is not None:
            if not (length.isascii() and length.isdigit()) or len(length) > _MOST_DIGITS:
                raise BrokenOff
            yield from self._channel.exactly(int(length))
        else:
            self._keeps = False
            yield from self._channel.rest()


def _head(text: bytes) -> tuple[bool, int, dict[str, str]]:
    """Return whether it is HTTP/1.1, status and headers; raise ConnectionError."""
    first, *lines = text.split(b"\r\n")
    found = _STATUS.fullmatch(first)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        key = name.decode("latin-1").lower()
        if not colon or not name or name.strip() != name or (key in headers and key in _ONCE):
            raise ConnectionError("this is no HTTP")
        headers[key] = value.decode("latin-1").strip()
    if not found:
        raise ConnectionError("this is no HTTP")
    return found[1] == b"1", int(found[2]), headers
