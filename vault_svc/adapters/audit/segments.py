"""The audit log's files: the active one, rotated ones, and reading them from either end."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vault_svc.adapters.audit.chain import Line, parse
from vault_svc.hazmat import private

ACTIVE: Final = "audit.jsonl"
_ROTATED: Final = re.compile(r"audit-[0-9]{12}\.jsonl")
_FIRST_CHUNK: Final = 4096
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Segment:
    """An open file of the log, and how much of it counts."""

    name: str
    descriptor: int
    size: int


@dataclass(frozen=True, slots=True)
class End:
    """Where a file's last line ends, and what stands after it."""

    line: Line | None
    torn: bytes
    terminated: bool


def rotated(directory: str) -> list[str]:
    """Return the names of rotated segments, oldest first."""
    return sorted(path.name for path in Path(directory).iterdir() if _ROTATED.fullmatch(path.name))


def rotated_name(first_seq: int) -> str:
    """Return the name of a segment by the number of its first line."""
    return f"audit-{first_seq:012d}.jsonl"


def open_segment(directory: str, name: str) -> Segment:
    """Open a file of the log for reading; raises `audit_broken` for one that is not ours."""
    path = str(Path(directory) / name)
    descriptor, _ = private.open_file(path, os.O_RDONLY, "audit_broken")
    return Segment(name, descriptor, os.fstat(descriptor).st_size)


def forwards(segment: Segment) -> Iterator[bytes]:
    """Yield a segment's lines without their LF; the last one may have had none."""
    rest, at = b"", 0
    while at < segment.size:
        chunk = os.pread(segment.descriptor, min(_CHUNK, segment.size - at), at)
        if not chunk:
            break
        at += len(chunk)
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest


def backwards(segment: Segment) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line without LF), last line first, reading no more than is asked for."""
    at, rest, chunk = segment.size, b"", _FIRST_CHUNK
    last = True
    while at > 0:
        length = min(chunk, at)
        at -= length
        rest = os.pread(segment.descriptor, length, at) + rest
        rest, *whole = rest.split(b"\n")
        offset = at + len(rest) + 1 + sum(len(line) + 1 for line in whole)
        for line in reversed(whole):
            offset -= len(line) + 1
            if line or not last:
                yield offset, line
            last = False
        chunk = min(2 * chunk, _CHUNK)
    if rest or not last:
        yield 0, rest


def end_of(segment: Segment) -> End:
    """Return the last line that is one, and the bytes after it, which a crash has left."""
    for offset, raw in backwards(segment):
        line = parse(raw)
        if line is None:
            continue
        after = offset + len(raw)
        terminated = after < segment.size
        start = after + 1 if terminated else after
        torn = os.pread(segment.descriptor, segment.size - start, start)
        return End(line, torn, terminated)
    return End(None, os.pread(segment.descriptor, segment.size, 0), terminated=True)


def first_seq(segment: Segment) -> int:
    """Return the number of a segment's first line; 0 if it has none."""
    for raw in forwards(segment):
        line = parse(raw)
        if line:
            return line.head.seq
    return 0
