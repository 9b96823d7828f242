"""Marked secrets, and every shape in which one could leak."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import string
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

# A value cut to its first or last piece is a leak as well; 12 of 62 letters are 71 bits.
PIECE = 12
BLOCK = 1 << 14
_ALNUM = string.ascii_letters + string.digits
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def fresh_value() -> str:
    """Return a value no other run has: letters and digits, with signs that encodings change."""
    core = "".join(secrets.choice(_ALNUM) for _ in range(2 * PIECE))
    return f"{core[:PIECE]}/+%:{core[PIECE:]}"


def shapes(text: bytes) -> Iterator[bytes]:
    """Yield text as it is, and in every encoding a log, a database or a shell could give it."""
    yield text
    yield text[::-1]
    yield text.hex().encode()
    yield text.hex().upper().encode()
    # Three alignments; the outer letters of each depend on what stands beside the secret.
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + text)
        inner = whole[4 if shift else 0 : (len(text) + shift) // 3 * 4]
        yield inner
        yield inner.translate(bytes.maketrans(b"+/", b"-_"))
    yield base64.b32encode(text).rstrip(b"=")[:-1]
    readable = text.decode("latin-1")
    yield readable.encode("utf-16-le")
    yield readable.encode("utf-16-be")
    yield readable.encode("utf-32-le")
    yield "".join(f"\\u{ord(c):04x}" for c in readable).encode()
    yield "".join(f"\\x{ord(c):02x}" for c in readable).encode()
    yield "".join(f"%{ord(c):02X}" for c in readable).encode()
    for wrapped in (json.dumps(readable)[1:-1], repr(text)[2:-1], urllib.parse.quote(readable, "")):
        yield wrapped.encode()
    yield ",".join(str(b) for b in text).encode()
    yield ", ".join(str(b) for b in text).encode()


@dataclass
class Marks:
    """Names of marked secrets, each with the pieces to look for."""

    pieces: dict[str, list[bytes]] = field(default_factory=dict)
    _needles: dict[bytes, str] = field(default_factory=dict)
    _searched: dict[bytes, frozenset[str]] = field(default_factory=dict)

    def add(self, name: str, *secret: str | bytes) -> None:
        """Mark a secret; a long one by its first and last pieces."""
        for each in secret:
            raw = each.encode() if isinstance(each, str) else each
            ends = {raw} if len(raw) < 2 * PIECE else {raw[:PIECE], raw[-PIECE:]}
            self.pieces.setdefault(name, []).extend(sorted(ends))
        self._needles.clear()
        self._searched.clear()

    def find(self, data: bytes) -> set[str]:
        """Return the names of the secrets of which data holds a piece, in any shape."""
        self._shape()
        if len(data) <= BLOCK:
            return self._search(data)
        # Databases are mostly what they were at the last look: a block is searched once.
        overlap = max(map(len, self._needles), default=1) - 1
        found: set[str] = set()
        for start in range(0, len(data), BLOCK):
            block = data[start : start + BLOCK + overlap]
            key = hashlib.sha256(block).digest()
            if key not in self._searched:
                self._searched[key] = frozenset(self._search(block))
            found |= self._searched[key]
        return found

    def _shape(self) -> None:
        if not self._needles:
            self._needles = {
                shape: name
                for name, pieces in self.pieces.items()
                for piece in pieces
                for shape in shapes(piece)
            }

    def _search(self, data: bytes) -> set[str]:
        # One fast search for each needle: an alternation of thousands would be far slower.
        return {name for needle, name in self._needles.items() if needle in data}

    def dumped(self) -> str:
        """Return one line that `loaded` reads."""
        return json.dumps({n: [p.hex() for p in pieces] for n, pieces in self.pieces.items()})


def loaded(line: str) -> Marks:
    """Return marks that another process dumped."""
    found = json.loads(line)
    return Marks({n: [bytes.fromhex(p) for p in pieces] for n, pieces in found.items()})


def host_key_marks(path: Path) -> dict[str, tuple[str | bytes, ...]]:
    """Return each host key of a credential file: as text, raw, and as the subkeys in use."""
    keys = json.loads(path.read_text())["keys"]
    return {f"host key {key_id}": _forms(key) for key_id, key in keys.items()}


def _forms(key: str) -> tuple[str | bytes, ...]:
    raw = bytes.fromhex(key)
    uses = (b"colibri/digest/1", b"colibri/audit/1")
    return key, raw, *(hmac.digest(raw, use, "sha256") for use in uses)


def identity_marks(path: Path, named: str) -> dict[str, tuple[str | bytes, ...]]:
    """Return the age identities of a credential file: as text, and as the raw scalar."""
    words = [w for w in path.read_text().split() if w.startswith("AGE-SECRET-KEY-1")]
    return {
        f"{named} {number}": (tail, tail.lower(), _bech32(tail))
        for number, word in enumerate(words)
        if (tail := word.removeprefix("AGE-SECRET-KEY-1"))
    }


def _bech32(text: str) -> bytes:
    """Return the payload of a bech32 string's data part (BIP 173), less its checksum."""
    bits = "".join(f"{_BECH32.index(c):05b}" for c in text.lower()[:-6])
    return int(bits[:256], 2).to_bytes(32, "big")


def files_below(top: Path) -> Iterable[Path]:
    """Return everything below top, without following a link."""
    return (Path(found) for found in _walk(top))


def _walk(top: Path) -> Iterator[str]:
    try:
        entries = sorted(top.iterdir()) if not top.is_symlink() else []
    except OSError:  # no directory, or gone meanwhile
        return
    for entry in entries:
        yield str(entry)
        yield from _walk(entry)
