"""One append, under the log's lock: find the end, repair, rotate, write, sync, prune."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vault_svc.adapters.audit import chain, segments
from vault_svc.adapters.audit.faults import NO_SPACE
from vault_svc.adapters.audit.reserve import Reserve
from vault_svc.domain.audit import REMOVALS, Entry, Event, Head
from vault_svc.hazmat import private

_FLAGS: Final = os.O_RDWR | os.O_APPEND
_FRESH: Final = segments.ACTIVE + ".new"


@dataclass(frozen=True, slots=True)
class Limits:
    """When a segment is full, and how many rotated ones stay."""

    segment_bytes: int
    segments_kept: int


class Appending:
    """The state of one append; every raw failure leaves as OSError."""

    def __init__(self, directory: str, limits: Limits, reserve: Reserve, stack: ExitStack) -> None:
        """Take the stack that closes what this opens."""
        self._directory = directory
        self._limits = limits
        self._reserve = reserve
        self._stack = stack
        self._active: segments.Segment | None = None
        self._torn = b""
        self._terminated = True
        self._victims: list[str] = []
        self._new_names = False
        self._head: Head | None = None
        self.last: chain.Line | None = None

    def find_end(self) -> Head | None:
        """Open the log and return its head; `last` is the line that has it."""
        try:
            descriptor, _ = private.open_file(
                self._path(segments.ACTIVE), _FLAGS, "audit_unwritable"
            )
        except FileNotFoundError:
            pass
        else:
            self._stack.callback(os.close, descriptor)
            size = os.fstat(descriptor).st_size
            self._active = segments.Segment(segments.ACTIVE, descriptor, size)
            end = segments.end_of(self._active)
            self.last, self._torn, self._terminated = end.line, end.torn, end.terminated
        if self.last is None:
            # An empty log continues the segment that was rotated away just before a crash.
            self.last = self._last_of(segments.rotated(self._directory)[-1:])
        return self.last.head if self.last else None

    def write(self, writer: chain.Writer, entries: Sequence[Entry]) -> None:
        """Write entries, and before them what the state of the log calls for."""
        removal = all(entry.event in REMOVALS for entry in entries)
        entries = list(entries)
        front = b"" if self._terminated else b"\n"
        if self._torn:
            front += b"" if self._torn.endswith(b"\n") else b"\n"
            entries.insert(0, chain.repair(self._torn))
        elif self._full() or not self._active:
            self._rotate_if_possible(writer, removal=removal)
            front = b"" if self._new_names else front
            entries[:0] = self._prune()
        active = self._active or self._open_fresh(segments.ACTIVE)
        self._write(active, front + writer.lines(entries), removal=removal)
        self._active = active
        self._head = writer.head

    def finish(self) -> Head:
        """Make what was written durable, then remove pruned segments; return the new head."""
        if self._active is None or self._head is None:
            raise ValueError("finish follows write")
        if self._new_names or self._active.size == 0:
            os.fsync(self._active.descriptor)
            private.sync_directory(self._directory)
        else:
            _fdatasync(self._active.descriptor)
        for name in self._victims:
            private.remove(self._path(name))
        if self._victims:
            private.sync_directory(self._directory)
        return self._head

    def _write(self, active: segments.Segment, payload: bytes, *, removal: bool) -> None:
        try:
            self._reserve.extend(active.descriptor, active.size, len(payload))
        except OSError as error:
            if not removal or error.errno not in NO_SPACE:
                raise
        try:
            _write_all(active, payload)
        except OSError as error:
            if not removal or error.errno not in NO_SPACE or not self._reserve.release():
                raise
            _write_all(active, payload)

    def _full(self) -> bool:
        return self._active is not None and self._active.size >= self._limits.segment_bytes

    def _rotate_if_possible(self, writer: chain.Writer, *, removal: bool) -> None:
        if self._active is None and self.last is None:
            return
        before = writer.head
        try:
            self._rotate(writer)
        except OSError as error:
            writer.head = before
            private.remove(self._path(_FRESH))
            if not removal or error.errno not in NO_SPACE:
                raise

    def _rotate(self, writer: chain.Writer) -> None:
        """Begin a new file; the old one keeps its reserve until the new one has its own."""
        line = writer.lines([Entry(Event.LOG_ROTATED, detail={"after": writer.head.seq})])
        private.remove(self._path(_FRESH))
        fresh = self._open_fresh(_FRESH)
        self._reserve.extend(fresh.descriptor, 0, len(line))
        _write_all(fresh, line)
        os.fsync(fresh.descriptor)
        old = self._active
        if old is not None:
            name = segments.rotated_name(segments.first_seq(old))
            private.rename(self._path(segments.ACTIVE), self._path(name))
        private.rename(self._path(_FRESH), self._path(segments.ACTIVE))
        self._active = segments.Segment(segments.ACTIVE, fresh.descriptor, len(line))
        self._new_names = True
        if old is not None:
            # The same size: this only gives back the blocks past the end, if it can.
            with suppress(OSError):
                os.ftruncate(old.descriptor, old.size)

    def _prune(self) -> list[Entry]:
        """Choose the segments that go, and return the line that must be durable before."""
        self._victims = segments.rotated(self._directory)[: -self._limits.segments_kept]
        last = self._last_of(self._victims[-1:])
        return [chain.pruned(last.head, len(self._victims))] if last else []

    def _last_of(self, names: Sequence[str]) -> chain.Line | None:
        for name in names:
            segment = segments.open_segment(self._directory, name)
            self._stack.callback(os.close, segment.descriptor)
            return segments.end_of(segment).line
        return None

    def _open_fresh(self, name: str) -> segments.Segment:
        descriptor, _ = private.open_file(self._path(name), _FLAGS | os.O_CREAT, "audit_unwritable")
        self._stack.callback(os.close, descriptor)
        return segments.Segment(name, descriptor, 0)

    def _path(self, name: str) -> str:
        return str(Path(self._directory) / name)


def _write_all(active: segments.Segment, payload: bytes) -> None:
    """Append payload, or leave the file as long as it was: the caller holds the lock."""
    view = memoryview(payload)
    try:
        while view:
            view = view[os.write(active.descriptor, view) :]
    except OSError:
        os.ftruncate(active.descriptor, active.size)
        raise


def _fdatasync(descriptor: int) -> None:
    # macOS has none; fsync does more than is asked.
    getattr(os, "fdatasync", os.fsync)(descriptor)
