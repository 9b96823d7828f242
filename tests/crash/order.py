"""What must be on the disk before what: a kill cannot show it, a power cut would."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tests.crash.tracing import Call

_LINK = ("link", "linkat", "rename", "renameat", "renameat2")


def misplaced(calls: Sequence[Call]) -> Iterator[str]:
    """Yield each rule that one traced delivery breaks; the calls have paths (strace -y, root)."""
    named = [i for i, call in enumerate(calls) if call.name in _LINK and "/root>" in call.arguments]
    first, last = named[0], named[-1]
    filled = _where(calls, ("write", "pwrite64"), r"/jails/[^/]+/root/", before=first)[-1]
    opened = _where(calls, ("openat",), r"/root>.*O_(TMPFILE|CREAT)", before=first)[-1]
    if not _synced(calls, r"/jails/[^/]+/root/", filled, first):
        yield "file: it has a name before its bytes are synced"
    if not _where(calls, ("fchown", "fchmod"), r"/jails/[^/]+/root/", opened, filled)[1:]:
        yield "owner: the bytes are there before owner and mode"
    receipt = _where(calls, ("pwrite64",), r"-wal>", after=last)[0]
    if not _synced(calls, r"/root>", last, receipt):
        yield "directory: the receipt is written before the name is synced"
    said = _where(calls, ("write",), r"audit\.jsonl>.*will_deliver", before=opened)
    if not said or not _synced(calls, r"audit\.jsonl>", said[-1], opened):
        yield "announcement: the file is begun before the log's line is synced"
    intent = _where(calls, ("pwrite64",), r"-wal>", before=opened)
    if not intent or not _synced(calls, r"-wal>", intent[-1], opened):
        yield "intent: the file is begun before the intent is synced"
    done = _where(calls, ("write",), r'audit\.jsonl>.*event\\":\\"delivered', after=last)
    if not done or not _synced(calls, r"audit\.jsonl>", done[0], receipt):
        yield "report: the receipt is written before the log's line is synced"
    if not _synced(calls, r"-wal>", receipt, len(calls)):
        yield "receipt: it is never synced"


def _where(
    calls: Sequence[Call], names: Sequence[str], pattern: str, after: int = 0, before: int = 1 << 30
) -> list[int]:
    return [
        i
        for i, call in enumerate(calls)
        if after <= i < before and call.name in names and re.search(pattern, call.arguments)
    ]


def _synced(calls: Sequence[Call], pattern: str, after: int, before: int) -> bool:
    return bool(_where(calls, ("fsync", "fdatasync"), pattern, after, before))
