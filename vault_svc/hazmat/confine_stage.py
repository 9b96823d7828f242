"""A new inode for a secret: finished before it has a name, undone when anything fails.

Rule 2 of containment: nothing that exists is opened, truncated, chowned or chmodded. A fresh
inode gets owner and mode through its own descriptor, is synced, and only then gets a name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import re
import secrets
import stat
from dataclasses import dataclass, field
from typing import Final

from vault_svc.domain.receipt import Owner
from vault_svc.hazmat.confine_error import Reason, Refused, refusal
from vault_svc.hazmat.confine_walk import NO_FOLLOW
from vault_svc.hazmat.linkat import name_inode
from vault_svc.hazmat.mounts import mount_id
from vault_svc.hazmat.reopen import LOOK, reopened

TEMPORARY: Final = re.compile(r"\.colibri-[0-9a-f]{24}\.tmp")
# A tenant may fill its directory; only a removal reads all of it.
SWEEP_LIMIT: Final = 20_000
_O_TMPFILE: Final = getattr(os, "O_TMPFILE", 0)
# What file systems and kernels without O_TMPFILE answer (open.2); ENOENT: the directory is dead.
_NO_TMPFILE: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})
_ACL: Final = "system.posix_acl_access"
_NO_ACL: Final = frozenset({errno.ENODATA, errno.ENOTSUP, errno.EOPNOTSUPP})
# Answers of link and rename that only a change behind our back can cause: look again.
_CHANGED: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ESTALE}
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What shall stand at the name; content is never shown."""

    content: bytes = field(repr=False)
    owner: Owner
    mode: int


@dataclass(slots=True)
class Staged:
    """A new inode: its descriptor, identity, and the temporary name it has, if any."""

    fd: int
    dev: int
    ino: int
    temporary: str


def temporary_name() -> str:
    """Return a name that nobody can guess and that the sweep knows as ours."""
    return f".colibri-{secrets.token_hex(12)}.tmp"


def stage(parent: int, wanted: Wanted, shown: str) -> Staged:
    """Make a synced inode as wanted in the directory parent; raise Refused, which names shown."""
    staged = _new_inode(parent, shown)
    try:
        _prepare(staged.fd, wanted.owner, wanted.mode)
        _check_prepared(staged, wanted.owner, wanted.mode)
        _write(staged.fd, wanted.content)
        os.fsync(staged.fd)
    except BaseException as error:
        discard(staged, parent)
        os.close(staged.fd)
        if isinstance(error, OSError):
            raise refusal(error, shown) from None
        raise
    return staged


def _new_inode(parent: int, shown: str) -> Staged:
    """Create a nameless inode where the file system can, else one under a random name."""
    name = ""
    try:
        fd = _nameless(parent)
        if fd < 0:
            name = temporary_name()
            fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_FOLLOW, 0o600, dir_fd=parent)
    except OSError as error:
        # A removed directory answers ENOENT, or EPERM to O_TMPFILE: only its links tell.
        if os.fstat(parent).st_nlink == 0:
            detail = "the directory was removed"
            raise Refused(Reason.TAMPERED, detail=detail, err=error.errno or 0) from None
        raise refusal(error, shown) from None
    status = os.fstat(fd)
    return Staged(fd, status.st_dev, status.st_ino, name)


def _nameless(parent: int) -> int:
    """Open an inode without name and permissions; -1 where there is no such thing."""
    if not _O_TMPFILE:
        return -1
    try:
        return os.open(".", os.O_RDWR | _O_TMPFILE | os.O_CLOEXEC, 0, dir_fd=parent)
    except OSError as error:
        if error.errno in _NO_TMPFILE:
            return -1
        raise


def _prepare(fd: int, owner: Owner, mode: int) -> None:
    """Give the inode its lock, owner and mode while nobody can reach its content."""
    with contextlib.suppress(
        OSError
    ):  # a file system without locks only loses the sweep's courtesy
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    _drop_inherited_acl(fd)
    try:
        os.fchown(fd, owner.uid, owner.gid)
    except OSError as error:
        if error.errno in {errno.EPERM, errno.EINVAL, errno.EOVERFLOW}:
            raise _owner_refused(owner, error.errno or 0) from None
        raise
    os.fchmod(fd, mode)


def _drop_inherited_acl(fd: int) -> None:
    """Remove what a default ACL of the directory left: chmod would only mask it."""
    if not hasattr(os, "removexattr"):
        return
    try:
        os.removexattr(fd, _ACL)
    except OSError as error:
        if error.errno not in _NO_ACL:
            raise


def _check_prepared(staged: Staged, owner: Owner, mode: int) -> None:
    """Refuse to write into an inode that did not take owner, mode or type."""
    status = os.fstat(staged.fd)
    if (status.st_uid, status.st_gid) != (owner.uid, owner.gid):
        raise _owner_refused(owner, 0)
    links = 1 if staged.temporary else 0
    if status.st_mode != stat.S_IFREG | mode or status.st_nlink != links:
        raise Refused(Reason.TAMPERED, staged.temporary, detail="the new file changed")


def _owner_refused(owner: Owner, err: int) -> Refused:
    return Refused(Reason.OWNER, detail=f"{owner.uid}:{owner.gid}", err=err)


def _write(fd: int, content: bytes) -> None:
    """Write all of content."""
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def publish_new(staged: Staged, parent: int, name: str) -> bool:
    """Name a nameless inode directly; False if the name is taken or the inode has one already."""
    if staged.temporary:
        return False
    try:
        name_inode(staged.fd, parent, name)
    except FileExistsError:
        return False
    except OSError as error:
        raise publish_refusal(error, name) from None
    return True


def publish_over(staged: Staged, parent: int, name: str) -> None:
    """Put the inode in place of whatever but a directory has the name, atomically."""
    try:
        if not staged.temporary:
            temporary = temporary_name()
            name_inode(staged.fd, parent, temporary)
            staged.temporary = temporary
        os.rename(staged.temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        staged.temporary = ""
    except OSError as error:
        raise publish_refusal(error, name) from None


def publish_refusal(error: OSError, name: str) -> Refused:
    """Tell a change behind our back from a refusal of the file system."""
    if error.errno in _CHANGED:
        return Refused(Reason.TAMPERED, name, err=error.errno or 0)
    return refusal(error, name)


def discard(staged: Staged, parent: int, name: str = "") -> None:
    """Empty the inode, then take away the names it still has: no secret stays in either.

    Truncated first: in an append-only directory no name can be taken away. Closes nothing.
    """
    with contextlib.suppress(OSError):
        os.ftruncate(staged.fd, 0)
    for each in filter(None, (staged.temporary, name)):
        with contextlib.suppress(OSError):
            if is_inode(parent, each, staged.dev, staged.ino):
                os.unlink(each, dir_fd=parent)


def is_inode(parent: int, name: str, dev: int, ino: int) -> bool:
    """Say whether name in parent still is that inode, without opening it."""
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    return (status.st_dev, status.st_ino) == (dev, ino)


def look(parent: int, name: str) -> os.stat_result | None:
    """Return what stands at name without opening or following it; None if nothing does."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refusal(error, name) from None


def sweep(parent: int, *, ruthless: bool = False) -> int:
    """Unlink temporary files that a crash of ours left in parent; return how many.

    A live writer holds a lock on its file and is spared, unless ruthless (a removal: whatever
    could hold a secret goes). Only regular files and empty directories with our pattern are ours.
    """
    with os.scandir(parent) as entries:
        seen = itertools.islice(entries, None if ruthless else SWEEP_LIMIT)
        stale = [entry.name for entry in seen if TEMPORARY.fullmatch(entry.name)]
    return sum(_sweep_one(parent, name, ruthless=ruthless) for name in stale)


def _sweep_one(parent: int, name: str, *, ruthless: bool) -> bool:
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            return False
        if not ruthless and _is_locked(parent, name):
            return False
        if stat.S_ISDIR(mode):
            return _rmdir(parent, name)
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise refusal(error, name) from None
    return True


def _rmdir(parent: int, name: str) -> bool:
    """Take an unfinished directory away; what has something in it is the tenant's."""
    with contextlib.suppress(OSError):
        os.rmdir(name, dir_fd=parent)
        return True
    return False


def _opened(parent: int, name: str) -> int:
    """Open a file or directory for its lock; raise OSError for what acts when it is opened."""
    held = os.open(name, LOOK, dir_fd=parent)
    try:
        mode = os.fstat(held).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or mount_id(held) != mount_id(parent):
            raise OSError(errno.EINVAL, "it was swapped")
        return reopened(held)
    finally:
        os.close(held)


def _is_locked(parent: int, name: str) -> bool:
    """Say whether a live process works on the file; what cannot be opened or locked is not."""
    try:
        fd = _opened(parent, name)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return False
