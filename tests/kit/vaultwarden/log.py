"""What a server was asked: enough to count and to accuse, never a body."""

from __future__ import annotations

import base64
import json
import threading
import urllib.parse
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One request; device and client are what the caller said of itself."""

    step: str
    method: str
    path: str
    status: int
    device: str
    client: str
    seen: frozenset[str]


class RequestLog:
    """Entries in order, and which watched secrets any request carried."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._watched: dict[str, tuple[bytes, ...]] = {}

    def watch(self, name: str, secret: str) -> None:
        """From now on notice secret, in any form a client would send it in, by name."""
        with self._lock:
            self._watched[name] = _forms(secret)

    def seen_in(self, raw: bytes) -> frozenset[str]:
        """Return the names of watched secrets in a request's bytes."""
        with self._lock:
            watched = list(self._watched.items())
        return frozenset(name for name, forms in watched if any(form in raw for form in forms))

    def add(self, entry: Entry) -> None:
        """Keep one more."""
        with self._lock:
            self._entries.append(entry)

    def clear(self) -> None:
        """Forget what was asked; watched secrets stay watched."""
        with self._lock:
            self._entries.clear()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What was asked so far, in order."""
        with self._lock:
            return tuple(self._entries)

    def count(self, step: str) -> int:
        """Return how often a step was asked for."""
        return sum(entry.step == step for entry in self.entries)

    def steps(self) -> list[str]:
        """Return the steps asked for, in order."""
        return [entry.step for entry in self.entries]

    def devices(self) -> set[str]:
        """Return the device identifiers of token requests."""
        return {entry.device for entry in self.entries if entry.step == "token"}

    def seen(self) -> set[str]:
        """Return the names of all watched secrets that any request carried."""
        return {name for entry in self.entries for name in entry.seen}


def _forms(secret: str) -> tuple[bytes, ...]:
    raw = secret.encode()
    texts = {
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
        urllib.parse.quote(secret, safe="!'()*"),
        json.dumps(secret)[1:-1],
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
    }
    return (raw, *(text.encode() for text in texts))
