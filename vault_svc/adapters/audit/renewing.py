"""Puts a broken log aside and begins a new one; the caller holds the log's lock.

Order: the new log's first line is durable under a name of its own, then the old files move into
a directory beside it, then the new log gets its name. A crash in between leaves a log that is
still broken, and renewing it again goes on.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from vault_svc.adapters.audit import chain, segments
from vault_svc.adapters.audit.reserve import Reserve
from vault_svc.domain.audit import Entry, Event, Head
from vault_svc.errors import ColibriError
from vault_svc.hazmat import private

FRESH: Final = segments.ACTIVE + ".renewed"
_CHUNK: Final = 1 << 20


def renew(directory: str, writer: chain.Writer, reserve: Reserve, why: str) -> tuple[Head, str]:
    """Begin a log whose first line follows the writer's number; return its head and what is aside.

    The first line names the directory put aside and the SHA-256 of each file in it. Raises
    OSError, or `audit_unwritable` where something of others stands in the way.
    """
    old = _files(directory)
    aside = _unused(directory, writer.head.seq)
    digests = {name: _sha256(directory, name) for name in old}
    line = writer.lines([Entry(Event.LOG_RENEWED, detail=_detail(why, aside, digests))])
    _write(str(Path(directory) / FRESH), line, reserve)
    private.make_directory(str(Path(directory) / aside), "audit_unwritable")
    for name in old:
        private.rename(str(Path(directory) / name), str(Path(directory) / aside / name))
    private.sync_directory(str(Path(directory) / aside))
    private.sync_directory(directory)
    private.rename(str(Path(directory) / FRESH), str(Path(directory) / segments.ACTIVE))
    private.sync_directory(directory)
    return writer.head, aside


def _detail(why: str, aside: str, digests: dict[str, str]) -> dict[str, object]:
    return {"why": why, "aside": aside, "sha256": digests}


def _files(directory: str) -> list[str]:
    active = os.path.lexists(Path(directory) / segments.ACTIVE)
    return [*segments.rotated(directory), *([segments.ACTIVE] if active else [])]


def _unused(directory: str, seq: int) -> str:
    names = (f"broken-{seq:012d}{suffix}" for suffix in ("", *(f"-{n}" for n in range(2, 1000))))
    for name in names:
        if not os.path.lexists(Path(directory) / name):
            return name
    raise ColibriError("audit_unwritable", f"too many broken logs in '{directory}'", hint="move it")


def _sha256(directory: str, name: str) -> str:
    """Return the digest of a file of ours, or why it has none: a link is not followed."""
    try:
        segment = segments.open_segment(directory, name)
    except (ColibriError, OSError):
        return "not a file of ours"
    digest, at = hashlib.sha256(), 0
    try:
        while part := os.pread(segment.descriptor, _CHUNK, at):
            digest.update(part)
            at += len(part)
    finally:
        os.close(segment.descriptor)
    return digest.hexdigest()


def _write(path: str, line: bytes, reserve: Reserve) -> None:
    private.remove(path)
    descriptor, _ = private.open_file(path, os.O_RDWR | os.O_CREAT, "audit_unwritable")
    try:
        reserve.extend(descriptor, 0, len(line))
        view = memoryview(line)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
