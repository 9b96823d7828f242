"""The promises a crash may not break, each with the name by which a sabotage must be caught.

`moment` looks at what a kill left, which is what anybody could have seen at that moment: nothing
changes between two state-changing calls. `settled` looks after the same command ran again.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence

from tests.crash.driver import Ran
from tests.crash.facts import Facts, Known, Look
from vault_svc.domain.receipt import Receipt, Removal
from vault_svc.domain.tenant import Status
from vault_svc.hazmat.confine_stage import TEMPORARY

_GONE = {Status.SUSPENDED: ("suspended", "revoked"), Status.OFFBOARDED: ("offboarded",)}


def moment(before: Facts, now: Facts, after: Facts) -> Iterator[str]:
    """Yield what is wrong right after the kill; after is the state of a run nobody killed."""
    if not now.log.startswith(before.log):
        yield "lost-line: the log does not begin with what it was before"
    for tenant in after.tenants:
        yield from _file(tenant, before, now, after)
        if tenant in now.known:
            yield from _row(tenant, before, now, after)
    yield from _strays(before, now, after)
    _, head = now.registry
    newest = now.lines[-1]["seq"] if now.lines else 0
    if head and head.seq > newest:
        yield f"lost-line: the registry remembers line {head.seq}, the log ends at {newest}"


def _file(tenant: str, before: Facts, now: Facts, after: Facts) -> Iterator[str]:
    """Yield what is wrong with the file: old and whole, or new and whole and announced."""
    old, new, seen = (facts.look(tenant) for facts in (before, after, now))
    if seen not in (old, new):
        yield f"torn: '{tenant}' has {_said(seen)}, not {_said(old)} nor {_said(new)}"
        return
    name = f"jails/{tenant}/root/.env"
    if seen == old != new and seen and now.picture[name] != before.picture[name]:
        yield f"torn: the old file of '{tenant}' was touched"
    if seen != old and not _news(
        tenant, before, now, "will_remove" if new is None else "will_deliver"
    ):
        yield f"unannounced: '{tenant}' has {_said(seen)}, the log does not say so"


def _row(tenant: str, before: Facts, now: Facts, after: Facts) -> Iterator[str]:
    """Yield what is wrong with the row: it may lag behind the file, never run ahead of it."""
    known, seen = now.known[tenant], now.look(tenant)
    was = before.known.get(tenant)
    yield from _receipts(tenant, known, now)
    if known.row.status is Status.ACTIVE and not isinstance(known.newest, Receipt):
        yield f"lying-row: '{tenant}' is active without a receipt"
    if known.row.status in _GONE and seen is not None:
        yield f"lying-row: '{tenant}' is {known.row.status}, its file stands"
    fresh = known.newest is not None and known.newest != (was and was.newest)
    if fresh and isinstance(known.newest, Receipt) and seen != after.look(tenant):
        yield f"lying-row: '{tenant}' has a receipt of a file that is not there"
    if fresh and isinstance(known.newest, Removal) and seen is not None:
        yield f"lying-row: '{tenant}' has the record of a removal, its file stands"
    if seen not in (None, before.look(tenant)) and not fresh and not known.intents:
        yield f"lying-row: '{tenant}' has a new file, with neither receipt nor intent"


def _receipts(tenant: str, known: Known, now: Facts) -> Iterator[str]:
    for receipt in known.receipts:
        same = {"generation": receipt.generation, "digest": receipt.digest}
        if not now.seqs(tenant, "will_deliver", **same):
            yield f"unannounced: '{tenant}' has receipt {receipt.generation} without a will_deliver"
        if known.row.generation < receipt.generation:
            yield f"lying-row: '{tenant}' has generation {known.row.generation}, below its receipt"


def _strays(before: Facts, now: Facts, after: Facts) -> Iterator[str]:
    """Yield names in a jail that no run makes, and temporary files the wrong eyes could read."""
    for name in now.names - before.names - after.names:
        if "/root/" not in name:
            continue
        tenant, entry = name.split("/")[1], now.picture[name]
        wanted = after.look(tenant) or before.look(tenant)
        private = wanted and (entry.mode, entry.uid, entry.gid) == (
            stat.S_IFREG | 0o600,
            wanted.uid,
            wanted.gid,
        )
        if not private or not TEMPORARY.fullmatch(name.rpartition("/")[2]):
            yield f"stray: '{name}' with mode {entry.mode:o} of {entry.uid}:{entry.gid}"


def settled(before: Facts, now: Facts, after: Facts) -> Iterator[str]:
    """Yield what is wrong after the same command ran again."""
    if not now.log.startswith(before.log):
        yield "lost-line: the log does not begin with what it was before"
    if now.names != after.names:
        extra, lacking = sorted(now.names - after.names), sorted(after.names - now.names)
        yield f"leftover: {extra}" if extra else f"state: {lacking} are missing"
    for tenant in after.tenants:
        if now.look(tenant) != after.look(tenant):
            yield f"state: '{tenant}' has {_said(now.look(tenant))} in the end"
    if now.known.keys() != after.known.keys():
        yield f"state: the rows are {sorted(now.known)}"
    for tenant in now.known.keys() & after.known.keys():
        yield from _settled_row(tenant, now, after)


def _settled_row(tenant: str, now: Facts, after: Facts) -> Iterator[str]:
    known, wanted = now.known[tenant], after.known[tenant]
    yield from _receipts(tenant, known, now)
    if known.intents:
        yield f"lying-row: '{tenant}' still has an open intent"
    if known.row.status is not wanted.row.status or _gist(known) != _gist(wanted):
        yield f"state: '{tenant}' is {known.row.status} {_gist(known)}, not {_gist(wanted)}"
    if not wanted.row.generation <= known.row.generation <= wanted.row.generation + 1:
        yield f"state: '{tenant}' has generation {known.row.generation}"
    for receipt in known.receipts:
        if not now.seqs(tenant, "delivered", "adopted", generation=receipt.generation):
            yield f"lost-line: nothing says that '{tenant}' got generation {receipt.generation}"
    if isinstance(known.newest, Removal):
        ended = _GONE[known.row.status]
        if not now.seqs(tenant, "removed") or not now.seqs(tenant, *ended):
            yield f"lost-line: nothing says that '{tenant}' is {known.row.status}"
    if not now.seqs(tenant, "tenant_registered"):
        yield f"lost-line: nothing says that '{tenant}' was registered"


def _gist(known: Known) -> tuple[object, ...]:
    newest = known.newest
    if isinstance(newest, Receipt):
        return ("receipt", newest.path, newest.digest, newest.keys, newest.mode, newest.uid)
    return (type(newest).__name__, newest.path if newest else "")


def _news(tenant: str, before: Facts, now: Facts, event: str) -> bool:
    last = before.lines[-1]["seq"] if before.lines else 0
    return any(seq > last for seq in now.seqs(tenant, event))


def _said(look: Look | None) -> str:
    if look is None:
        return "nothing"
    return f"{len(look.content)} bytes, {look.mode:04o} of {look.uid}:{look.gid}"


def verified(verify: Ran, audit: Ran) -> Iterator[str]:
    """Yield what colibri itself finds wrong in the end."""
    if verify.status or any(item["state"] not in _SOUND for item in verify.document["items"]):
        yield f"verify: {verify.stdout}{verify.stderr}"
    if audit.status or not audit.document["intact"]:
        yield f"audit: {audit.stdout}{audit.stderr}"


_SOUND = {"ok", "not_delivered"}


def unchanged(first: Facts, second: Facts, stamps: Sequence[object]) -> Iterator[str]:
    """Yield what a second run changed that had nothing to do; stamps: inodes and times, twice."""
    if stamps[0] != stamps[1]:
        yield f"no-op: files were written again, {stamps[0]} is now {stamps[1]}"
    if first.known != second.known:
        yield "no-op: rows changed"
    more = [line["event"] for line in second.lines[len(first.lines) :]]
    if set(more) - {"unchanged_summary"}:
        yield f"no-op: {more} were logged"
