"""The audit log as JSON lines: durable before append returns, each line chained to the last.

Decisions 12 to 14. Files in a directory of ours, 0700: `audit.jsonl`, rotated segments
`audit-FIRSTSEQ.jsonl`, `audit.lock`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

from vault_svc.adapters.audit import chain, renewing, segments
from vault_svc.adapters.audit.appending import Appending, Limits
from vault_svc.adapters.audit.faults import broken, unwritable
from vault_svc.adapters.audit.reserve import KeepSize, Reserve
from vault_svc.domain.audit import Entry, Head
from vault_svc.errors import ColibriError
from vault_svc.hazmat import filelock, prealloc, private
from vault_svc.ports.audit_log import Verdict
from vault_svc.ports.clock import Clock
from vault_svc.ports.credential_store import HostKeys

LOCK: Final = "audit.lock"


class JsonlAudit:
    """AuditLog in one directory; processes and threads may share it."""

    def __init__(
        self,
        directory: str,
        keys: HostKeys,
        clock: Clock,
        mirror: Callable[[], Head | None],
        *,
        segment_bytes: int = 16 * 1024 * 1024,
        segments_kept: int = 64,
        reserve_bytes: int = 256 * 1024,
        lock_timeout_seconds: float = 30.0,
        keep_size: KeepSize = prealloc.keep_size,
    ) -> None:
        """Take mirror, which reads the head that the registry remembers; open nothing yet."""
        self._directory = directory
        self._keys = keys
        self._clock = clock
        self._mirror = mirror
        self._limits = Limits(segment_bytes, max(segments_kept, 1))
        self._reserve = Reserve(directory, reserve_bytes, keep_size)
        self._lock_timeout_seconds = lock_timeout_seconds

    def append(self, entries: Sequence[Entry]) -> Head:
        """Write and sync entries in order; return the new head.

        Raises `audit_unwritable`, `audit_broken`, `busy`.
        """
        if not entries:
            raise ValueError("nothing to append")
        with self._at_end() as work:
            head = work.last.head if work.last else None
            work.write(chain.Writer(self._keys, self._clock.now(), head), entries)
            return work.finish()

    def ready(self) -> None:
        """Raise what append would find wrong with the log as it is; write nothing."""
        with self._at_end():
            pass

    @contextmanager
    def _at_end(self) -> Iterator[Appending]:
        """Yield an append that may begin, under the log's lock."""
        try:
            private.make_directory(self._directory, "audit_unwritable")
            with self._locked(shared=False), ExitStack() as stack:
                work = Appending(self._directory, self._limits, self._reserve, stack)
                work.find_end()
                self._check_end(work)
                yield work
        except OSError as error:
            raise unwritable(self._directory, error) from None

    def head(self) -> Head | None:
        """Return the newest line's number and chain value."""
        with closing(self._backwards()) as lines:
            return next((line.head for line in lines), None)

    def tail(self, count: int, *, tenant: str = "") -> list[Mapping[str, Any]]:
        """Return the last lines, oldest first, reading from the end."""
        found: list[Mapping[str, Any]] = []
        with closing(self._backwards()) as lines:
            while len(found) < count and (line := next(lines, None)):
                if not tenant or line.fields["tenant"] == tenant:
                    found.append(line.fields)
        return found[::-1]

    def lines(self) -> Iterator[Mapping[str, Any]]:
        """Yield every retained line, oldest first."""
        with self._snapshot() as files:
            for segment in files:
                for raw in segments.forwards(segment):
                    if line := chain.parse(raw):
                        yield line.fields

    def verify(self) -> Verdict:
        """Walk the whole chain and compare its head with the registry's mirror.

        A torn last line that no repair records yet is a crash, not a break. Raises
        `credential_missing` where there is no host key at all.
        """
        _ = self._keys.current
        # The mirror first: whatever it remembers was in the log before.
        walk = chain.Walk(self._keys, self._mirror())
        with self._snapshot() as files:
            _walk(walk, files)
            walk.finish()
            return Verdict(walk.lines, len(files), walk.head, walk.problem, walk.repairs)

    def renew(self) -> tuple[Head, str]:
        """Put a broken log aside and begin a new one; return its head and the directory's name.

        Raises `usage` for an intact log, `audit_unwritable`, `busy`.
        """
        why = self.verify().broken_at
        if why is None:
            raise ColibriError(
                "usage", "the audit log is intact: there is nothing to renew", hint="leave it"
            )
        head, mirror = self.head(), self._mirror()
        after = max(head.seq if head else 0, mirror.seq if mirror else 0)
        try:
            private.make_directory(self._directory, "audit_unwritable")
            with self._locked(shared=False):
                writer = chain.Writer(self._keys, self._clock.now(), Head(after, chain.GENESIS))
                return renewing.renew(self._directory, writer, self._reserve, why)
        except OSError as error:
            raise unwritable(self._directory, error) from None

    def _check_end(self, work: Appending) -> None:
        """Refuse to continue a log that is not the one the registry remembers."""
        mirror, last = self._mirror(), work.last
        if last and not chain.authentic(last, self._keys):
            raise broken(f"line seq {last.head.seq} was changed, or not written by colibri")
        if not mirror:
            return
        if not last:
            raise broken(f"it is gone; the registry remembers seq {mirror.seq}")
        if last.head.seq < mirror.seq:
            raise broken(f"it ends at seq {last.head.seq}; the registry remembers {mirror.seq}")
        if last.head.seq == mirror.seq and last.head != mirror:
            raise broken(f"line seq {mirror.seq} is not the one the registry remembers")

    def _backwards(self) -> Generator[chain.Line, None, None]:
        with self._snapshot() as files:
            for segment in reversed(files):
                for _, raw in segments.backwards(segment):
                    if line := chain.parse(raw):
                        yield line

    @contextmanager
    def _snapshot(self) -> Iterator[list[segments.Segment]]:
        """Yield the log's files as they are at one moment, oldest first, open for reading."""
        with ExitStack() as stack:
            files: list[segments.Segment] = []
            try:
                with self._locked(shared=True):
                    for name in (*segments.rotated(self._directory), segments.ACTIVE):
                        files += self._open(name, stack)
            except FileNotFoundError:
                files = []
            except OSError as error:
                raise broken(f"it cannot be read: {os.strerror(error.errno or 0)}") from None
            yield files

    def _open(self, name: str, stack: ExitStack) -> list[segments.Segment]:
        try:
            segment = segments.open_segment(self._directory, name)
        except FileNotFoundError:
            return []
        stack.callback(os.close, segment.descriptor)
        return [segment]

    @contextmanager
    def _locked(self, *, shared: bool) -> Iterator[None]:
        path = str(Path(self._directory) / LOCK)
        timeout = self._lock_timeout_seconds
        with filelock.held(path, "audit_unwritable", shared=shared, timeout_seconds=timeout) as got:
            if not got:
                raise ColibriError(
                    "busy", "another process writes the audit log", hint="run it again in a moment"
                )
            yield


def _walk(walk: chain.Walk, files: Sequence[segments.Segment]) -> None:
    for segment in files:
        for number, raw in enumerate(segments.forwards(segment), start=1):
            if not walk.feed(raw, f"{segment.name} line {number}"):
                return
        if segment is not files[-1] and not walk.end_segment(segment.name):
            return
