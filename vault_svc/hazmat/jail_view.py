"""A running jail as itself sees it: its root by identity, its ids, and whether it sees a file.

Rule bent: /proc/PID/root is opened through its magic link, and leads into mounts of the tenant's.
Why that is safe: it is only compared with (containment.md, 2.2 and 2.3), never written through;
the walk in it is the confined one, which refuses a mount before it enters it.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from vault_svc.domain.ids import SAME, IdMap, extents
from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError
from vault_svc.hazmat.confine_error import Reason, Refused
from vault_svc.hazmat.confine_walk import SEARCH, Root, Walk, root_from
from vault_svc.hazmat.mounts import mount_id

_MOUNT_ID, _MOUNT_POINT, _OPTIONS = 0, 4, 5  # fields of mountinfo, proc_pid_mountinfo(5)
IDMAPPED: Final = "idmapped"


@dataclass(frozen=True, slots=True)
class View:
    """One look into a jail; `pidfd` tells whether the process looked at is still there.

    ids: the map of its user namespace. disk: the one to set owners by through the host's path,
    which an id-mapped mount leaves alone (containment.md, 2.4).
    """

    pidfd: int
    root: Root
    ids: IdMap
    disk: IdMap

    def prove(self, root: Root) -> None:
        """Raise Refused unless the jail's `/` is this very directory."""
        if _identity(self.root.fd) != _identity(root.fd):
            raise Refused(Reason.ROOT_MISMATCH, detail="the running jail has another root")

    def prove_alive(self) -> None:
        """Raise Refused if the process ended: what was proven by it holds no longer."""
        if select.select([self.pidfd], [], [], 0)[0]:
            raise Refused(Reason.TAMPERED, detail="the jail was stopped meanwhile")

    def sees_directory(self, root: Root, parts: Sequence[str]) -> None:
        """Raise Refused unless the jail reaches the host's directory by the same names."""
        shown = "/".join(parts)
        with _opened(root, parts) as ours, self._within(parts, shown) as theirs:
            if _identity(ours) != _identity(theirs):
                raise Refused(Reason.SHADOWED, shown)

    def seen_owner(self, parts: Sequence[str], identity: tuple[int, int]) -> Owner:
        """Return whose the file of this (device, inode) is inside; raise Refused if it is hidden.

        Numbers are the jail's, translated from what the kernel says of the jail's own path.
        """
        *directories, name = parts
        shown = "/".join(parts)
        with self._within(directories, shown) as parent:
            try:
                found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            except OSError as error:
                raise Refused(Reason.SHADOWED, shown, err=error.errno or 0) from None
        if (found.st_dev, found.st_ino) != identity:
            raise Refused(Reason.SHADOWED, shown)
        return self.ids.inside(Owner(found.st_uid, found.st_gid))

    @contextlib.contextmanager
    def _within(self, parts: Sequence[str], shown: str) -> Iterator[int]:
        """Hold a directory open as the jail sees it; whatever is in the way hides it."""
        try:
            fd = self.root.walk.directory(self.root, parts, SEARCH)
        except Refused as refused:
            raise Refused(Reason.SHADOWED, shown, err=refused.errno) from None
        try:
            yield fd
        finally:
            os.close(fd)


@contextlib.contextmanager
def looked_into(pid: int, inside: str, walk: Walk) -> Iterator[View]:
    """Look into the jail whose first process has this number, and its root at inside.

    Raises Refused NOT_RUNNING.
    """
    held: list[int] = []
    try:
        try:
            held.append(os.pidfd_open(pid))
            held.append(os.open(f"/proc/{pid}/root{inside}", SEARCH & ~os.O_NOFOLLOW))
            ids = ids_of(pid)
            disk = SAME if _is_idmapped(pid, held[1]) else ids
        except (OSError, ValueError) as error:
            number = getattr(error, "errno", 0) or 0
            raise Refused(Reason.NOT_RUNNING, err=number) from None
        yield View(held[0], root_from(held[1], walk), ids, disk)
    finally:
        for fd in held:
            os.close(fd)


def root_outside(pid: int) -> tuple[int, ...]:
    """Return the host's number of the root of a process's user namespace; none if it has none."""
    try:
        return (ids_of(pid).outside(Owner(0, 0)).uid,)
    except (OSError, ValueError, ColibriError):
        return ()


def ids_of(pid: int) -> IdMap:
    """Return the map of a process's user namespace; raise OSError, ValueError."""
    with open(f"/proc/{pid}/uid_map", encoding="ascii") as lines:
        uids = extents(lines.read())
    with open(f"/proc/{pid}/gid_map", encoding="ascii") as lines:
        found = IdMap(uids, extents(lines.read()))
    # Of a namespace that is ours, too, the file shows what our parent's call its ids.
    return found.to_itself() if _shares_ours(pid) else found


def _shares_ours(pid: int) -> bool:
    return os.readlink(f"/proc/{pid}/ns/user") == os.readlink("/proc/self/ns/user")


def _is_idmapped(pid: int, root: int) -> bool:
    """Say whether the mount the jail's root is on maps ids itself (mount_setattr(2))."""
    wanted = str(mount_id(root))
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.split(" ")
            if fields[_MOUNT_ID] == wanted:
                return IDMAPPED in fields[_OPTIONS].split(",")
    return False


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


@contextlib.contextmanager
def _opened(root: Root, parts: Sequence[str]) -> Iterator[int]:
    fd = root.walk.directory(root, parts, SEARCH)
    try:
        yield fd
    finally:
        os.close(fd)
