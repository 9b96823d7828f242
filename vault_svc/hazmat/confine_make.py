"""Missing directories, made for the owner of the files: a set's own, parents only if asked for.

B19: between mkdirat and openat the tenant can put another directory there. Owner and mode are
set through a descriptor, and only on a directory that is as empty and ours as a new one, which
then gets its name as a file does: finished.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from vault_svc.domain.receipt import Owner
from vault_svc.hazmat import confine_stage as staging
from vault_svc.hazmat.confine_error import Reason, Refused
from vault_svc.hazmat.confine_walk import LISTABLE, Root

_DIRECTORY_MODE: Final = 0o700


def make_parents(root: Root, directories: Sequence[str], owner: Owner) -> None:
    """Make what is missing of directories, each for owner, 0700 and durable; raise Refused."""
    for depth in range(1, len(directories) + 1):
        parts = directories[:depth]
        try:
            os.close(root.walk.directory(root, parts, LISTABLE))
        except Refused as refused:
            if refused.reason is not Reason.MISSING:
                raise
            make_directory(root, parts, owner)


def make_directory(root: Root, parts: Sequence[str], owner: Owner) -> None:
    """Make the last of parts for owner, 0700 and durable; raise Refused.

    It gets its name when it is finished: a crash leaves nothing there that its owner cannot enter.
    """
    parent = root.walk.directory(root, parts[:-1], LISTABLE)
    shown = "/".join(parts)
    try:
        uid = os.fstat(parent).st_uid
        if uid not in {0, owner.uid, root.uid}:
            raise Refused(Reason.PARENT_POLICY, "/".join(parts[:-1]), detail=f"uid {uid}")
        staging.sweep(parent)
        _make_at(replace(root, fd=parent), parts[-1], owner)
        os.fsync(parent)
    except OSError as error:
        raise staging.publish_refusal(error, shown) from None
    finally:
        os.close(parent)


def _make_at(parent: Root, name: str, owner: Owner) -> None:
    """Make and finish a directory under a name of ours in parent, then give it its own."""
    temporary = staging.temporary_name()
    os.mkdir(temporary, _DIRECTORY_MODE, dir_fd=parent.fd)
    fd = -1
    try:
        fd = _opened(parent, temporary)
        _give(fd, owner)
        _name(parent.fd, temporary, name)
    except BaseException:
        with contextlib.suppress(OSError):
            os.rmdir(temporary, dir_fd=parent.fd)
        raise
    finally:
        if fd >= 0:
            os.close(fd)


def _name(parent: int, temporary: str, name: str) -> None:
    """Rename what is finished; an empty directory that the tenant made since the look goes."""
    if staging.look(parent, name) is not None:
        raise Refused(Reason.TAMPERED, name, detail="it appeared meanwhile")
    os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)


def _opened(parent: Root, name: str) -> int:
    """Open what was made a moment ago: anything but a directory of this mount came since."""
    try:
        return parent.walk.directory(parent, [name], LISTABLE)
    except Refused as refused:
        raise Refused(Reason.TAMPERED, refused.component, target=refused.target) from None


def _give(fd: int, owner: Owner) -> None:
    """Hand a new directory over, if it still is one: ours and empty."""
    with contextlib.suppress(OSError):  # the lock says that it is not a crash's
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    status = os.fstat(fd)
    fresh = status.st_uid == os.geteuid() and not os.listdir(fd)
    if not fresh or stat.S_IMODE(status.st_mode) & ~_DIRECTORY_MODE & ~stat.S_ISGID:
        raise Refused(Reason.TAMPERED, detail="it was swapped while new")
    os.fchown(fd, owner.uid, owner.gid)
    os.fchmod(fd, _DIRECTORY_MODE)
    os.fsync(fd)
