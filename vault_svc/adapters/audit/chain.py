"""The audit log's lines and the rules of their chain; no file is touched here.

A line is compact JSON with sorted keys: at, detail, event, key, mac, prev, seq, tenant. Its mac
authenticates, after the chain value prev, the line's bytes without the mac member.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vault_svc.domain.audit import Entry, Event, Head
from vault_svc.errors import ColibriError, printable
from vault_svc.ports.credential_store import HostKeys

GENESIS: Final = "0" * 64
_encode: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_MAC: Final = b',"mac":"'
_MAC_END: Final = len(_MAC) + 64
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_TYPES: Final = {
    "at": str,
    "detail": dict,
    "event": str,
    "key": str,
    "mac": str,
    "prev": str,
    "seq": int,
    "tenant": str,
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line that has the right shape; whether it is ours is for `authentic` to say."""

    head: Head
    prev: str
    key: str
    signed: bytes
    fields: Mapping[str, Any]

    def is_event(self, event: Event) -> bool:
        """Say whether this line records event."""
        return bool(self.fields["event"] == event)


def parse(raw: bytes) -> Line | None:
    """Return the line, without its LF; None for bytes that are no line of an audit log."""
    fields = _fields(raw)
    if fields is None:
        return None
    # The last place that looks like the mac is the mac: only prev, seq and tenant come after it.
    at = raw.rfind(_MAC)
    if raw[at : at + _MAC_END + 1] != _MAC + fields["mac"].encode() + b'"':
        return None
    signed = raw[:at] + raw[at + _MAC_END + 1 :]
    return Line(Head(fields["seq"], fields["mac"]), fields["prev"], fields["key"], signed, fields)


def _fields(raw: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or fields.keys() != _TYPES.keys():
        return None
    if any(type(fields[name]) is not kind for name, kind in _TYPES.items()):
        return None
    return fields if _HEX.fullmatch(fields["mac"]) and _HEX.fullmatch(fields["prev"]) else None


def authentic(line: Line, keys: HostKeys) -> bool:
    """Say whether line was written by a holder of the host key it names."""
    try:
        mac = keys.chain(line.prev, line.signed, key_id=line.key)
    except ColibriError as error:
        if error.code != "credential_missing":
            raise
        return False
    return hmac.compare_digest(mac, line.head.mac)


class Writer:
    """Composes the lines that follow head, all at one time and under the current key."""

    def __init__(self, keys: HostKeys, at: str, head: Head | None) -> None:
        """Take the time in RFC 3339 and the head to continue from, GENESIS for a renewed log."""
        self._keys = keys
        self._key = keys.current
        self._at = _encode(at)
        self.head = head or Head(0, GENESIS)

    def lines(self, entries: Sequence[Entry]) -> bytes:
        """Return the entries as lines, and move the head."""
        return b"".join([self._line(entry) for entry in entries])

    def _line(self, entry: Entry) -> bytes:
        seq, prev = self.head.seq + 1, self.head.mac
        detail = _encode(dict(entry.detail or {}))
        front = (
            f'{{"at":{self._at},"detail":{detail},"event":"{entry.event}","key":"{self._key}"'
        ).encode()
        back = f',"prev":"{prev}","seq":{seq},"tenant":{_encode(entry.tenant)}}}'.encode()
        mac = self._keys.chain(prev, front + back, key_id=self._key)
        self.head = Head(seq, mac)
        return b"".join((front, _MAC, mac.encode(), b'"', back, b"\n"))


def repair(torn: bytes) -> Entry:
    """Return the entry that records torn bytes, which stand in front of it for ever.

    The LF that ends them does not count, whether a crash left it or the repair puts it there.
    """
    return Entry(Event.LOG_REPAIRED, detail=_torn(torn.removesuffix(b"\n")))


def _torn(torn: bytes) -> dict[str, Any]:
    return {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()}


def pruned(through: Head, segments: int) -> Entry:
    """Return the entry that anchors the chain when its oldest segments go."""
    detail = {"through_seq": through.seq, "through_mac": through.mac, "segments": segments}
    return Entry(Event.LOG_PRUNED, detail=detail)


class Walk:
    """Checks lines in their order; `problem` is the first thing found wrong."""

    def __init__(self, keys: HostKeys, mirror: Head | None) -> None:
        """Take the registry's mirror of the head, None where it has none."""
        self._keys = keys
        self._mirror = mirror
        self._torn: list[bytes] = []
        self._key = ""
        self._retired: set[str] = set()
        self._anchor: Head | None = None
        self._anchors: set[Head] = set()
        self._first = ""
        self.head: Head | None = None
        self.lines = 0
        self.repairs = 0
        self.problem: str | None = None

    def feed(self, raw: bytes, where: str) -> bool:
        """Check the next line; return whether the chain still holds."""
        line = parse(raw)
        if line is None:
            self._torn.append(raw)
            return True
        why = self._torn_before(line) or self._follows(line) or self._ours(line)
        if why:
            self.problem = f"{where} (seq {line.head.seq}): {why}"
            return False
        self._first = self._first or where
        self.head = line.head
        self.lines += 1
        if line.is_event(Event.LOG_PRUNED):
            detail = line.fields["detail"]
            self._anchors.add(Head(detail.get("through_seq"), detail.get("through_mac")))
        return True

    def end_segment(self, where: str) -> bool:
        """Close a segment that is followed by another."""
        if self._torn:
            self.problem = f"{where}: its last line is not an audit line"
        return not self._torn

    def finish(self) -> None:
        """Compare with what must have been there: the lines pruned away, and the mirror."""
        if self.problem:
            return
        if self._anchor and self._anchor not in self._anchors:
            self.problem = (
                f"{self._first}: lines 1 to {self._anchor.seq} are gone and no log_pruned says so"
            )
            return
        seq = self.head.seq if self.head else 0
        if self._mirror and seq < self._mirror.seq:
            self.problem = f"after seq {seq}: lines up to seq {self._mirror.seq} were cut off"

    def _torn_before(self, line: Line) -> str:
        repairs = line.is_event(Event.LOG_REPAIRED)
        if not self._torn:
            return "the torn bytes that it records are gone" if repairs else ""
        if not repairs or line.fields["detail"] != _torn(b"\n".join(self._torn)):
            return "what stands before it is not an audit line, and no log_repaired says so"
        self._torn = []
        self.repairs += 1
        return ""

    def _follows(self, line: Line) -> str:
        if self.head is None:
            if line.is_event(Event.LOG_RENEWED) and line.prev == GENESIS:
                return ""
            if line.head.seq > 1:
                self._anchor = Head(line.head.seq - 1, line.prev)
                return ""
            good = line.head.seq == 1 and line.prev == GENESIS
            return "" if good else "it is not the first line of a log"
        if line.head.seq != self.head.seq + 1:
            return f"it follows seq {self.head.seq}: lines are missing, repeated or out of order"
        return "" if line.prev == self.head.mac else "it does not continue the line before it"

    def _ours(self, line: Line) -> str:
        if line.key in self._retired:
            return f"it is signed with host key '{printable(line.key[:16])}' after its rotation"
        if not authentic(line, self._keys):
            return "it was changed, or not written by colibri"
        if line.key != self._key:
            self._retired.add(self._key)
            self._key = line.key
        if self._mirror and line.head.seq == self._mirror.seq and line.head != self._mirror:
            return "it is not the line that the registry remembers"
        return ""
