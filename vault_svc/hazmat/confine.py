"""The confined write: place, read and remove one file beneath a verified root descriptor.

Resolve once by descriptor, never by string; never touch what stands at the name; look again
afterwards through a fresh walk. Reasons stand in the design's containment page (ten rules).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from vault_svc.domain.paths import jail_path
from vault_svc.domain.receipt import Found, Owner, Placed
from vault_svc.hazmat import confine_stage as staging
from vault_svc.hazmat.confine_error import Reason, Refused, refusal
from vault_svc.hazmat.confine_make import make_parents
from vault_svc.hazmat.confine_walk import LISTABLE, SEARCH, Root, kind_of, readable
from vault_svc.hazmat.mounts import mount_id

ATTEMPTS: Final = 3
_CHUNK: Final = 1 << 20
# What opening a regular file for reading answers when it is none any more.
_SWAPPED: Final = frozenset({errno.ENOENT, errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR})
T = TypeVar("T")


def inspect(root: Root, path: Sequence[str], *, max_bytes: int) -> Found:
    """Return what stands at path; only a regular file is ever opened.

    A missing directory on the way is Found("missing"). Content is None above max_bytes.
    Raises Refused (TAMPERED when the file was swapped while it was opened, three times).
    """
    *directories, name = checked(path)
    try:
        with opened(root, directories, SEARCH) as parent:
            return retried(lambda: inspect_at(root, parent, name, max_bytes))
    except Refused as refused:
        if refused.reason is Reason.MISSING:
            return Found("missing")
        raise


def place(
    root: Root,
    path: Sequence[str],
    content: bytes,
    owner: Owner,
    mode: int,
    *,
    create_parents: bool = False,
) -> Placed:
    """Put content at path as a new inode and read it back through a fresh walk; raise Refused."""
    parts = checked(path)
    wanted = staging.Wanted(content, owner, mode)

    def once() -> Placed:
        if create_parents:
            make_parents(root, parts[:-1], owner)
        with opened(root, parts[:-1], LISTABLE) as parent:
            check_parent(root, parent, owner, "/".join(parts[:-1]))
            return _place_at(root, parent, parts, wanted)

    return retried(once)


def settle(root: Root, path: Sequence[str]) -> None:
    """Sync the regular file at path and the directory that names it; raise Refused."""
    *directories, name = checked(path)
    with opened(root, directories, LISTABLE) as parent:
        try:
            fd = readable(root, parent, name)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            os.fsync(parent)
        except OSError as error:
            raise refusal(error, name) from None


def remove(root: Root, path: Sequence[str]) -> str:
    """Unlink what stands at path and every temporary file of ours; return its kind.

    No policy on the parent: a tenant that gives its directory away must not stop a revocation.
    """
    *directories, name = checked(path)
    seen: list[str] = []
    try:
        retried(lambda: _remove_once(root, directories, name, seen))
    except Refused as refused:
        if refused.reason is not Reason.MISSING:
            raise
    return seen[0] if seen else "missing"


def checked(path: Sequence[str]) -> tuple[str, ...]:
    """Refuse what a walk has no protection against, before any system call (rule 3).

    Raises `bad_path` unless the one lexical rule reads exactly these components.
    """
    parts = jail_path("/" + "/".join(path))
    if parts != tuple(path):
        raise Refused(Reason.BAD_PATH, "/".join(path))
    return parts


def retried(act: Callable[[], T]) -> T:
    """Run act again while the tree changes under it, a bounded number of times."""
    for left in reversed(range(ATTEMPTS)):
        try:
            return act()
        except Refused as refused:
            if refused.reason is not Reason.TAMPERED or not left:
                raise
    raise AssertionError("unreachable")


@contextlib.contextmanager
def opened(root: Root, directories: Sequence[str], flags: int) -> Iterator[int]:
    """Hold a directory below root open; raise Refused."""
    fd = root.walk.directory(root, directories, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def inspect_at(root: Root, parent: int, name: str, max_bytes: int) -> Found:
    """Return what stands at name in an open directory; raise Refused."""
    before = staging.look(parent, name)
    if before is None:
        return Found("missing")
    if not stat.S_ISREG(before.st_mode):
        return _found(before, None)
    try:
        fd = readable(root, parent, name)
    except BlockingIOError:  # its owner's lease (fcntl.2): what is in it cannot be told
        return _found(before, None)
    except OSError as error:
        if error.errno in _SWAPPED:
            raise Refused(Reason.TAMPERED, name, err=error.errno or 0) from None
        raise refusal(error, name) from None
    try:
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) != (before.st_dev, before.st_ino):
            raise Refused(Reason.TAMPERED, name, detail="it was swapped while it was opened")
        return _found(status, _read(fd, max_bytes) if status.st_size <= max_bytes else None)
    finally:
        os.close(fd)


def _found(status: os.stat_result, content: bytes | None) -> Found:
    return Found(
        kind=kind_of(status.st_mode),
        content=content,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        nlink=status.st_nlink,
        dev=status.st_dev,
        ino=status.st_ino,
        mtime_ns=status.st_mtime_ns,
        size=status.st_size,
    )


def _read(fd: int, max_bytes: int) -> bytes | None:
    """Read to the end, but never more than max_bytes (None): the file may grow meanwhile."""
    chunks, left = [], max_bytes + 1
    while left and (chunk := os.read(fd, min(left, _CHUNK))):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks) if left else None


def check_parent(root: Root, parent: int, owner: Owner, shown: str) -> None:
    """Refuse a directory of another jail user (decision 5).

    Root as the jail counts is whoever owns the jail's `/`: that one can move all of it anyway.
    """
    uid = os.fstat(parent).st_uid
    if uid not in {0, owner.uid, root.uid}:
        raise Refused(Reason.PARENT_POLICY, shown, detail=f"uid {uid}, not {owner.uid} or root")


def _place_at(root: Root, parent: int, path: Sequence[str], wanted: staging.Wanted) -> Placed:
    name, shown = path[-1], "/".join(path)
    staging.sweep(parent)
    displaceable(parent, name)
    staged = staging.stage(parent, wanted, shown)
    published = False
    try:
        displaced = publish(staged, parent, name)
        published = True
        os.fsync(parent)
        found = _read_back(root, path, staged, wanted)
    except BaseException as error:
        refused = refusal(error, shown) if isinstance(error, OSError) else error
        if not (published and is_unseen(refused)):
            staging.discard(staged, parent, name)
        if isinstance(error, OSError):
            raise refused from None
        raise
    finally:
        os.close(staged.fd)
    return Placed(found.dev, found.ino, found.mtime_ns, found.size, displaced)


def is_unseen(error: BaseException) -> bool:
    """Say whether lack of descriptors kept us from looking again at what has its name.

    Whole and announced, it stays: taking it away would leave nothing.
    """
    return isinstance(error, Refused) and error.reason is Reason.EXHAUSTED


def displaceable(parent: int, name: str) -> str:
    """Name what a rename would displace; a directory is never removed."""
    before = staging.look(parent, name)
    if before is None:
        return "missing"
    if stat.S_ISDIR(before.st_mode):
        raise Refused(Reason.NOT_REGULAR, name, detail="directory")
    return kind_of(before.st_mode)


def publish(staged: staging.Staged, parent: int, name: str) -> str:
    """Give the finished inode its name; return the kind of what had it."""
    displaced = displaceable(parent, name)
    if displaced == "missing":
        if staging.publish_new(staged, parent, name):
            return displaced
        displaced = displaceable(parent, name)
    staging.publish_over(staged, parent, name)
    return displaced


def _read_back(
    root: Root, path: Sequence[str], staged: staging.Staged, wanted: staging.Wanted
) -> Found:
    """Walk again from the root: what the jail has at path must be our inode, whole and alone."""
    try:
        with opened(root, path[:-1], SEARCH) as parent:
            found = inspect_at(root, parent, path[-1], len(wanted.content))
            same_mount = mount_id(parent) == root.mount
    except Refused as refused:
        if refused.reason is Reason.EXHAUSTED:
            raise
        # The file has its name already: whatever stands in the way now came after.
        raise Refused(Reason.TAMPERED, refused.component, target=refused.target) from None
    ours = (found.dev, found.ino, found.nlink) == (staged.dev, staged.ino, 1)
    drift = found.drift_from(wanted.content, wanted.mode, wanted.owner)
    if not ours or not same_mount or drift:
        raise Refused(Reason.TAMPERED, "/".join(path), detail="it is not what was written")
    return found


def _remove_once(root: Root, directories: Sequence[str], name: str, seen: list[str]) -> None:
    with opened(root, directories, LISTABLE) as parent:
        staging.sweep(parent, ruthless=True)
        kind = displaceable(parent, name)
        if kind != "missing":
            seen.append(kind)
            unlink(parent, name)
        os.fsync(parent)
    with opened(root, directories, SEARCH) as parent:
        if staging.look(parent, name) is not None:
            raise Refused(Reason.TAMPERED, name, detail="it came back")


def unlink(parent: int, name: str) -> None:
    """Take a name away that is no directory's; raise Refused."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except OSError as error:
        # A directory that came since the look answers EISDIR (Linux) or EPERM (BSD): stays.
        raise refusal(error, name) from None
