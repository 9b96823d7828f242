"""Several secrets as files of one directory: the confined write, once per file.

The rules are those of `confine`: every file is a new inode, finished before it has its name and
read back through a fresh walk. What is refused is refused before the first change, and all files
of a batch are whole before the first of them gets its name. The directory is made, never changed:
one that stands there already must be safe as it is.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from vault_svc.domain import files as packing
from vault_svc.domain.receipt import Found, Owner, Placed
from vault_svc.hazmat import confine
from vault_svc.hazmat import confine_stage as staging
from vault_svc.hazmat.confine_error import Reason, Refused, refusal
from vault_svc.hazmat.confine_make import make_directory, make_parents
from vault_svc.hazmat.confine_walk import LISTABLE, SEARCH, Root, kind_of, readable
from vault_svc.hazmat.mounts import mount_id

MAX_STAGED: Final = 64
"""Files that are open at once, and wait for each other before they get their names."""
_OTHERS_ENTER: Final = 0o011
_OTHERS_WRITE: Final = 0o022
# What the walk says of a directory that was one a moment ago.
_SWAPPED: Final = frozenset({Reason.SYMLINK, Reason.NOT_A_DIRECTORY, Reason.MISSING})
Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Set:
    """What shall stand in the directory, and which other names shall not; values never shown."""

    contents: Mapping[str, bytes] = field(repr=False)
    owner: Owner
    mode: int
    stale: Collection[str]

    def file(self, name: str) -> staging.Wanted:
        """Return one file of it."""
        return staging.Wanted(self.contents[name], self.owner, self.mode)


def inspect(root: Root, path: Sequence[str], names: Collection[str], *, max_bytes: int) -> Found:
    """Return what stands at path, and at names in it; only regular files are ever opened.

    max_bytes is for all of them together. Raises Refused as `confine.inspect`.
    """
    parts = _checked(path, names)
    try:
        return confine.retried(lambda: _inspect_once(root, parts, sorted(names), max_bytes))
    except Refused as refused:
        if refused.reason is Reason.MISSING:
            return Found("missing", files={})
        raise


def place(root: Root, path: Sequence[str], wanted: Set, *, create_parents: bool = False) -> Placed:
    """Have exactly wanted at path: what stands there as wanted stays; raise Refused."""
    parts = _checked(path, [*wanted.contents, *wanted.stale])
    seen: list[str] = []

    def once() -> Placed:
        if create_parents:
            make_parents(root, parts[:-1], wanted.owner)
        made = _have_directory(root, parts, wanted.owner, seen)
        try:
            with _opened(root, parts, LISTABLE) as inside:
                _check_directory(root, inside, wanted.owner, "/".join(parts))
                return _fill(root, parts, inside, wanted, seen)
        except BaseException:
            if made:
                _drop_if_empty(root, parts)
            raise

    return confine.retried(once)


def settle(root: Root, path: Sequence[str], names: Collection[str]) -> None:
    """Sync the files, the directory and the one that names it; raise Refused."""
    parts = _checked(path, names)
    with _opened(root, parts, LISTABLE) as inside:
        for name in sorted(names):
            _sync(root, inside, name)
        os.fsync(inside)
    with confine.opened(root, parts[:-1], LISTABLE) as parent:
        os.fsync(parent)


def remove(root: Root, path: Sequence[str], names: Collection[str]) -> str:
    """Unlink names and temporary files of ours, then the directory if nothing else is in it.

    Returns `files`, `missing`, or the kind of what stood in the directory's place, which is
    unlinked. A directory at one of the names is refused after all others are gone.
    """
    parts = _checked(path, names)
    seen: list[str] = []
    try:
        confine.retried(lambda: _remove_once(root, parts, sorted(names), seen))
    except Refused as refused:
        if refused.reason is not Reason.MISSING:
            raise
    return seen[0] if seen else "missing"


def _checked(path: Sequence[str], names: Collection[str]) -> tuple[str, ...]:
    """Refuse a name as a path is refused, before any system call."""
    parts = confine.checked(path)
    for name in names:
        confine.checked((*parts, name))
    return parts


@contextlib.contextmanager
def _opened(root: Root, parts: Sequence[str], flags: int) -> Iterator[int]:
    """Open what was a directory when it was looked at: anything else came since."""
    try:
        fd = root.walk.directory(root, parts, flags)
    except Refused as refused:
        if refused.reason in _SWAPPED:
            raise Refused(Reason.TAMPERED, refused.component, target=refused.target) from None
        raise
    try:
        yield fd
    finally:
        os.close(fd)


def _inspect_once(root: Root, parts: Sequence[str], names: Sequence[str], limit: int) -> Found:
    with confine.opened(root, parts[:-1], SEARCH) as parent:
        before = staging.look(parent, parts[-1])
    if before is None:
        return Found("missing", files={})
    if not stat.S_ISDIR(before.st_mode):
        return Found(kind_of(before.st_mode), files={})
    with _opened(root, parts, SEARCH) as inside:
        status, files = os.fstat(inside), {}
        for name in names:
            found = confine.inspect_at(root, inside, name, limit)
            if found.kind != "missing":
                files[name] = found
                limit -= len(found.content or b"")
    contents = {name: found.content for name, found in files.items() if found.content is not None}
    return Found(
        kind="directory",
        content=packing.pack(contents) if len(contents) == len(files) else None,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        dev=status.st_dev,
        ino=status.st_ino,
        mtime_ns=status.st_mtime_ns,
        files=files,
    )


def _have_directory(root: Root, parts: Sequence[str], owner: Owner, seen: list[str]) -> bool:
    """Make the directory if there is none, in place of whatever is none; say whether it is new."""
    with confine.opened(root, parts[:-1], LISTABLE) as parent:
        confine.check_parent(root, parent, owner, "/".join(parts[:-1]))
        before = staging.look(parent, parts[-1])
        kind = "missing" if before is None else kind_of(before.st_mode)
        seen.append(kind)
        if kind == "directory":
            return False
        if kind != "missing":
            _displace(parent, parts[-1])
    make_directory(root, parts, owner)
    return True


def _displace(parent: int, name: str) -> None:
    """Unlink what is no directory; if it is one by now, look again."""
    try:
        confine.unlink(parent, name)
    except Refused as refused:
        if refused.reason is Reason.NOT_REGULAR:
            raise Refused(Reason.TAMPERED, name, err=refused.errno) from None
        raise


def _check_directory(root: Root, inside: int, owner: Owner, shown: str) -> None:
    """Refuse a directory where another user of the jail could replace a file, or its own not enter.

    The second can be one of ours: a tenant that moves it away while it is new gets no file in it.
    """
    confine.check_parent(root, inside, owner, shown)
    status = os.fstat(inside)
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != owner.uid and not mode & _OTHERS_ENTER:
        raise Refused(Reason.PARENT_POLICY, shown, detail="the owner cannot enter it")
    if mode & _OTHERS_WRITE:
        raise Refused(Reason.PARENT_POLICY, shown, detail=f"its mode {mode:04o} lets others write")


def _fill(root: Root, parts: Sequence[str], inside: int, wanted: Set, seen: list[str]) -> Placed:
    """Write what differs, then take away what is stale, then look at all of it again."""
    stale = sorted(set(wanted.stale) - wanted.contents.keys())
    for name in (*wanted.contents, *stale):
        confine.displaceable(inside, name)
    staging.sweep(inside)
    there = _as_wanted(root, inside, wanted)
    pending = iter(sorted(wanted.contents.keys() - there.keys()))
    while batch := list(islice(pending, MAX_STAGED)):
        there |= _place_batch(root, parts, inside, {n: wanted.file(n) for n in batch}, seen)
    for name in stale:
        confine.unlink(inside, name)
    os.fsync(inside)
    _check_again(root, parts, inside, there, stale)
    status = os.fstat(inside)
    size = sum(map(len, wanted.contents.values()))
    displaced = next((kind for kind in seen if kind not in _USUAL), seen[0])
    return Placed(status.st_dev, status.st_ino, status.st_mtime_ns, size, displaced, there)


_USUAL: Final = frozenset({"missing", "directory", "file"})


def _as_wanted(root: Root, inside: int, wanted: Set) -> dict[str, Identity]:
    """Return the files that need no write, synced: a crash may have left them unsynced."""
    found = {}
    for name, content in wanted.contents.items():
        there = confine.inspect_at(root, inside, name, len(content))
        if not there.drift_from(content, wanted.mode, wanted.owner):
            _sync(root, inside, name)
            found[name] = (there.dev, there.ino)
    return found


def _sync(root: Root, inside: int, name: str) -> None:
    try:
        fd = readable(root, inside, name)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise staging.publish_refusal(error, name) from None


def _place_batch(
    root: Root,
    parts: Sequence[str],
    inside: int,
    batch: Mapping[str, staging.Wanted],
    seen: list[str],
) -> dict[str, Identity]:
    """Stage all, name all, read all back: what fails before the first name leaves nothing."""
    staged: dict[str, staging.Staged] = {}
    named: set[str] = set()
    try:
        for name, wanted in batch.items():
            staged[name] = staging.stage(inside, wanted, "/".join((*parts, name)))
        for name, each in staged.items():
            seen.append(confine.publish(each, inside, name))
            named.add(name)
        os.fsync(inside)
        _read_back(root, parts, batch, staged)
    except BaseException as error:
        refused = refusal(error, "/".join(parts)) if isinstance(error, OSError) else error
        # Files that have their names are right, and the next run goes on; but not after a look
        # that found them changed.
        spoiled = named == batch.keys() and not confine.is_unseen(refused)
        for name, each in staged.items():
            if spoiled or name not in named:
                staging.discard(each, inside, name if spoiled else "")
        if isinstance(error, OSError):
            raise refused from None
        raise
    finally:
        for each in staged.values():
            os.close(each.fd)
    return {name: (each.dev, each.ino) for name, each in staged.items()}


def _read_back(
    root: Root,
    parts: Sequence[str],
    batch: Mapping[str, staging.Wanted],
    staged: Mapping[str, staging.Staged],
) -> None:
    """Walk again from the root: every name must be our inode, whole and alone."""
    with _opened(root, parts, SEARCH) as again:
        for name, wanted in batch.items():
            each = staged[name]
            found = confine.inspect_at(root, again, name, len(wanted.content))
            ours = (found.dev, found.ino, found.nlink) == (each.dev, each.ino, 1)
            if not ours or found.drift_from(wanted.content, wanted.mode, wanted.owner):
                shown = "/".join((*parts, name))
                raise Refused(Reason.TAMPERED, shown, detail="it is not what was written")


def _check_again(
    root: Root,
    parts: Sequence[str],
    inside: int,
    there: Mapping[str, Identity],
    stale: Collection[str],
) -> None:
    """Refuse success unless the path leads to this directory, and each name to its file."""
    with _opened(root, parts, SEARCH) as again:
        if _identity(os.fstat(again)) != _identity(os.fstat(inside)):
            raise Refused(Reason.TAMPERED, "/".join(parts), detail="the directory was replaced")
        if mount_id(again) != root.mount:
            raise Refused(Reason.TAMPERED, "/".join(parts), detail="something was mounted there")
        for name in (*there, *stale):
            found = staging.look(again, name)
            if (None if found is None else _identity(found)) != there.get(name):
                raise Refused(Reason.TAMPERED, "/".join((*parts, name)), detail="it was changed")


def _remove_once(root: Root, parts: Sequence[str], names: Sequence[str], seen: list[str]) -> None:
    with confine.opened(root, parts[:-1], LISTABLE) as parent:
        before = staging.look(parent, parts[-1])
        if before is not None and not stat.S_ISDIR(before.st_mode):
            seen.append(kind_of(before.st_mode))
            _displace(parent, parts[-1])
            before = None
        os.fsync(parent)
        if before is None:
            if staging.look(parent, parts[-1]) is not None:
                raise Refused(Reason.TAMPERED, "/".join(parts), detail="it came back")
            return
    with _opened(root, parts, LISTABLE) as inside:
        _empty(inside, names, seen)
    _drop_if_empty(root, parts)
    found = _inspect_once(root, parts, names, 0)
    if not found.is_gone:
        raise Refused(Reason.TAMPERED, "/".join(parts), detail="something came back")


def _empty(inside: int, names: Sequence[str], seen: list[str]) -> None:
    staging.sweep(inside, ruthless=True)
    kept = ""
    for name in names:
        there = staging.look(inside, name)
        if there is not None and stat.S_ISDIR(there.st_mode):
            kept = name
        elif there is not None:
            seen.append("files")
            confine.unlink(inside, name)
    os.fsync(inside)
    if kept:
        raise Refused(Reason.NOT_REGULAR, kept, detail="directory")


def _drop_if_empty(root: Root, parts: Sequence[str]) -> None:
    """Take the directory away unless something is in it; what cannot be taken away stays.

    By its single name, in a parent that was walked to: at worst another empty directory of the
    same jail goes, put there between look and act.
    """
    with contextlib.suppress(OSError, Refused):
        with _opened(root, parts, SEARCH) as inside:
            ours = _identity(os.fstat(inside))
        with confine.opened(root, parts[:-1], LISTABLE) as parent:
            found = staging.look(parent, parts[-1])
            if found is not None and _identity(found) == ours:
                os.rmdir(parts[-1], dir_fd=parent)
                os.fsync(parent)


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino
