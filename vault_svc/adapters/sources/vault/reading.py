"""What an answer is, byte by byte, and where it ends: httptools does it, which is llhttp."""

from __future__ import annotations

import re
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

_LENGTH: Final = re.compile(r"\d{1,15}", re.ASCII)
_EMPTY: Final = frozenset({204, 304})
_CONTINUE: Final = 100
_LEAST_FINAL: Final = 200
# Between two parts of a body: the parser keeps a trailer, piece by piece, until its line ends.
_MOST_AROUND: Final = 1 << 16


class BrokenOff(Exception):  # noqa: N818 - what happened to the answer
    """The answer began, and its end never came or makes no sense."""


class Reading:
    """One answer as far as it has come; its parser calls the methods that begin with on_."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.size = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.head_is_whole = self.is_whole = False
        self._parser = HttpResponseParser(self)
        self._fields: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._around = 0
        self._stays = self._more = False

    def feed(self, data: bytes) -> None:
        """Take what came, b"" for the end; raise ConnectionError for no answer, or BrokenOff."""
        self.size += len(data)
        self._around += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if error.__context__ and not isinstance(error.__context__, Exception):
                raise error.__context__ from None  # a signal came while one of ours was called
            if not self.is_whole:  # what follows an answer does not make it another
                raise self._broken() from None
            self._more = True
        if not self.is_whole and (not data or self._around > _MOST_AROUND):
            raise self._broken()

    def taken(self) -> bytes:
        """Return what came of the body since the last time."""
        part = b"".join(self._parts)
        self._parts.clear()
        return part

    @property
    def leaves_free(self) -> bool:
        """Whether nothing came after it, nothing will, and nothing is to end with it."""
        return self.is_whole and self._stays and not self._more and not self._ends_oddly()

    def refuse_odd_end(self) -> None:
        """Refuse an answer that says not once where it ends: what is cut would look whole."""
        if self._ends_oddly():
            raise BrokenOff

    def on_message_begin(self) -> None:
        """Note that an answer begins, where one is there already."""
        self._more = self.is_whole

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a field of the head; a trailer is none."""
        if not self.head_is_whole:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Note the head, unless it only says that one will come."""
        if self.head_is_whole:
            return
        self.status = self._parser.get_status_code()
        if self.status == _CONTINUE:
            self._fields.clear()
            return
        self.head_is_whole = True
        self._stays = self._parser.should_keep_alive()
        for name, value in self._fields:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_body(self, part: bytes) -> None:
        """Note a part of the body."""
        if not self.is_whole:
            self._around = 0
            self._parts.append(part)

    def on_message_complete(self) -> None:
        """Note the end."""
        self.is_whole = self.head_is_whole

    def _ends_oddly(self) -> bool:
        """Say whether it says not once where it ends.

        An answer without a body must tell of none: it would be the next request's answer. What
        comes before the final answer is none.
        """
        coding, length = map(self.headers.get, ("transfer-encoding", "content-length"))
        told = [coding.lower() == "chunked"] if coding is not None else []
        told += [bool(_LENGTH.fullmatch(length))] if length is not None else []
        empty = self.status in _EMPTY and coding is None and length in {None, "0"}
        odd = not empty and (self.status in _EMPTY or told != [True])
        return odd or self.status < _LEAST_FINAL

    def _broken(self) -> Exception:
        """Return what an answer is that has no status, and one that has."""
        known = self.status or self._parser.get_status_code() > _CONTINUE
        return BrokenOff() if known else ConnectionError("this is no HTTP")
