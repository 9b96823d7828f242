"""Missing directories, made for the owner of the files: a set's own, parents only if asked for.

B19: between mkdirat and openat the tenant can put another directory there. Owner and mode are
set through a descriptor, and only on a directory that is as empty and ours as a new one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Final

from vault_svc.domain.receipt import Owner
from vault_svc.hazmat.confine_error import Reason, Refused, refusal
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
    """Make the last of parts for owner, 0700 and durable; raise Refused."""
    parent = root.walk.directory(root, parts[:-1], LISTABLE)
    shown = "/".join(parts)
    try:
        uid = os.fstat(parent).st_uid
        if uid not in {0, owner.uid, root.uid}:
            raise Refused(Reason.PARENT_POLICY, "/".join(parts[:-1]), detail=f"uid {uid}")
        os.mkdir(parts[-1], _DIRECTORY_MODE, dir_fd=parent)
        give(root, parts, owner)
        os.fsync(parent)
    except FileExistsError:
        raise Refused(Reason.TAMPERED, shown, detail="it appeared meanwhile") from None
    except OSError as error:
        raise refusal(error, shown) from None
    finally:
        os.close(parent)


def give(root: Root, parts: Sequence[str], owner: Owner) -> None:
    """Hand a new directory over, if it still is one: ours, empty, on the root's mount."""
    fd = root.walk.directory(root, parts, LISTABLE)
    try:
        status = os.fstat(fd)
        fresh = status.st_uid == os.geteuid() and not os.listdir(fd)
        if not fresh or stat.S_IMODE(status.st_mode) & ~_DIRECTORY_MODE & ~stat.S_ISGID:
            raise Refused(Reason.TAMPERED, "/".join(parts), detail="it was swapped while new")
        os.fchown(fd, owner.uid, owner.gid)
        os.fchmod(fd, _DIRECTORY_MODE)
        os.fsync(fd)
    finally:
        os.close(fd)
