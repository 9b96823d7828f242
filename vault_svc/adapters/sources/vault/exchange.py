"""One request and its answer over a connection of the standard library's http.client.

requests and urllib3 take longer over a request than such a server does. No request is ever sent
twice, none follows a redirect, and an answer has to be whole in its time.
"""

from __future__ import annotations

import re
import select
import ssl
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Final, cast
from urllib.parse import quote

from vault_svc.adapters.sources.vault.timed import Tls, Until, plain

_HEADER: Final = re.compile(r"[\t\x20-\x7e]*", re.ASCII)
_LENGTH: Final = re.compile(r"\d{1,15}", re.ASCII)
_EMPTY: Final = frozenset({204, 304})
_LEAST_FINAL: Final = 200
_TARGET: Final = "!$%&'()*+,/:;=?@[]~"


class BrokenOff(Exception):  # noqa: N818 - what happened to the answer
    """The answer began, and its end never came or makes no sense."""


class Channel(HTTPConnection):
    """A connection on which an answer, from its first byte to its last, has to arrive in time."""

    def __init__(
        self, host: str, port: int, seconds: float, context: ssl.SSLContext | None
    ) -> None:
        """Take where it leads, an answer's time, and the context of TLS, None for plain text."""
        super().__init__(host, port, timeout=seconds)
        self._context = context

    def connect(self) -> None:
        """Open it; the context decides what it trusts."""
        super().connect()
        self.sock = plain(self.sock, self.timeout)
        if self._context:
            name = self.host.rstrip(".")
            try:
                self.sock = self._context.wrap_socket(self.sock, server_hostname=name)
            except ssl.SSLEOFError:  # whoever stands before a server that is away
                raise ConnectionError("it ended before TLS began") from None

    def is_alive(self) -> bool:
        """Say whether a request may be sent: neither an end has come nor what nobody asked for."""
        waiting = select.poll()
        waiting.register(self.sock, select.POLLIN)
        unpacked = isinstance(self.sock, Tls) and self.sock.pending()
        return not (unpacked or waiting.poll(0))

    def ask(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        """Send a request; return its answer's head.

        Raises OSError, TimeoutError among them, and ValueError for what can stand in no head.
        """
        if not all(map(_HEADER.fullmatch, headers.values())):  # http.client's error has the value
            raise ValueError("a request's head would be more than one")
        try:
            way = cast("Until", self.sock)  # getresponse leaves none if this is its last answer
            self.request(method, quote(target, safe=_TARGET), body, headers)
            return Answer(way.head(self.timeout, self.getresponse), way)
        except HTTPException:
            raise ConnectionError("this is no HTTP") from None


class Answer:
    """An answer's head, and its body while it is read."""

    def __init__(self, response: HTTPResponse, way: Until) -> None:
        """Take what http.client read, and from where."""
        self.status_code = response.status
        self.headers = response.headers
        self._response = response
        self._way = way

    def iter_content(self, size: int) -> Iterator[bytes]:
        """Yield the body as it comes; raise BrokenOff, or TimeoutError."""
        try:
            self._refuse_odd_end()
            while part := self._response.read1(size):
                yield part
            if not self._response.length:
                self._response.read()  # nothing: read1 alone does not end an answer with a length
        except TimeoutError:
            raise
        except (HTTPException, OSError, ValueError):
            raise BrokenOff from None
        if self._response.length or self._way.ended:  # fewer bytes came than were told
            raise BrokenOff

    def close(self) -> None:
        """End it: the connection under it is closed with it, if the server wanted that."""
        self._response.close()

    def leaves_free(self) -> bool:
        """Say whether another request may go over the same connection."""
        return self._response.isclosed() and not self._response.will_close

    def _refuse_odd_end(self) -> None:
        """Refuse none, two, or one http.client does not see: what is cut would look whole.

        An answer without a body must tell of none: it would be the next request's answer. What
        comes before the final answer is none, and a head that is odd hides what stands below.
        """
        odd = self.headers.defects or self.headers.get_payload()
        if self.status_code < _LEAST_FINAL or odd:
            raise BrokenOff
        codings, lengths = (
            self.headers.get_all(name, []) for name in ("transfer-encoding", "content-length")
        )
        told = [*(each.lower() == "chunked" for each in codings), *map(_LENGTH.fullmatch, lengths)]
        empty = self.status_code in _EMPTY and not codings and {*lengths} <= {"0"}
        if not empty and (self.status_code in _EMPTY or len(told) != 1 or not all(told)):
            raise BrokenOff
