"""The two walks from a root descriptor to a directory: by openat2, and component by component.

Neither follows a symlink nor crosses a mount; `..` never reaches them (containment rules 1, 3, 6).
Only single names relative to a descriptor are used after that.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from vault_svc.hazmat import openat2
from vault_svc.hazmat.confine_error import Reason, Refused, refusal
from vault_svc.hazmat.mounts import mount_id
from vault_svc.hazmat.reopen import LOOK, reopened

NO_FOLLOW: Final = os.O_NOFOLLOW | os.O_CLOEXEC
# Search is all a walk needs: O_PATH triggers nothing and works where reading is forbidden.
SEARCH: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | NO_FOLLOW
LISTABLE: Final = os.O_RDONLY | os.O_DIRECTORY | NO_FOLLOW
# FreeBSD 13 and newer; Python does not export it (open.2).
_BENEATH: Final = 0x00800000 if sys.platform.startswith("freebsd") else 0


class Walk(Protocol):
    """A way to open things beneath a directory without leaving it."""

    @property
    def name(self) -> str:
        """`openat2` or `portable`."""
        ...

    def directory(self, root: Root, parts: Sequence[str], flags: int) -> int:
        """Open the directory parts below root; raise Refused."""
        ...

    def seen(self, root: Root, dir_fd: int, name: str) -> int:
        """Open a name on root's mount, to look at but not into; raise OSError or Refused."""
        ...


@dataclass(frozen=True, slots=True)
class Root:
    """A verified jail root: descriptor, mount, owner (root as the jail counts), and the walk."""

    fd: int
    mount: int
    uid: int
    walk: Walk


def root_from(fd: int, walk: Walk) -> Root:
    """Describe an open root directory; the descriptor stays the caller's."""
    return Root(fd, mount_id(fd), os.fstat(fd).st_uid, walk)


class Openat2Walk:
    """One system call resolves the whole path; a refusal is explained by a second look."""

    name = "openat2"

    def directory(self, root: Root, parts: Sequence[str], flags: int) -> int:
        """Open the directory parts below root; raise Refused."""
        path = "/".join(parts) or "."
        try:
            return openat2.openat2(root.fd, path, flags)
        except OSError as error:
            raise _explained(root, parts, error) from None

    def seen(self, root: Root, dir_fd: int, name: str) -> int:
        """Open a name on root's mount, to look at but not into; raise OSError."""
        del root  # the kernel compares mounts
        return openat2.openat2(dir_fd, name, LOOK)


class PortableWalk:
    """One component at a time, each opened without following and compared with root's mount."""

    name = "portable"

    def directory(self, root: Root, parts: Sequence[str], flags: int) -> int:
        """Open the directory parts below root; raise Refused."""
        fd = _search(root, parts)
        if flags == SEARCH:
            return fd
        try:
            # `.` of a proven directory: nothing of a foreign mount was opened for reading before.
            return os.open(".", flags, dir_fd=fd)
        except OSError as error:
            raise refusal(error, "/".join(parts)) from None
        finally:
            os.close(fd)

    def seen(self, root: Root, dir_fd: int, name: str) -> int:
        """Open a name on root's mount, to look at but not into; raise OSError or Refused."""
        fd = os.open(name, LOOK | _BENEATH, dir_fd=dir_fd)
        if mount_id(fd) != root.mount:
            os.close(fd)
            raise Refused(Reason.CROSSES_MOUNT, name)
        return fd


OPENAT2: Final = Openat2Walk()
PORTABLE: Final = PortableWalk()


def _search(root: Root, parts: Sequence[str]) -> int:
    """Walk down by components and return a descriptor that can only search."""
    fd = os.open(".", SEARCH, dir_fd=root.fd)
    for depth, name in enumerate(parts):
        try:
            below = _step(fd, name, root.mount, "/".join(parts[: depth + 1]))
        finally:
            os.close(fd)
        fd = below
    return fd


def _step(dir_fd: int, name: str, mount: int, shown: str) -> int:
    """Open one directory on the same mount; raise Refused that says what stands there."""
    try:
        fd = os.open(name, SEARCH | _BENEATH, dir_fd=dir_fd)
    except OSError as error:
        raise described(dir_fd, name, shown, error) from None
    if mount_id(fd) != mount:
        os.close(fd)
        raise Refused(Reason.CROSSES_MOUNT, shown)
    return fd


def readable(root: Root, dir_fd: int, name: str) -> int:
    """Open a regular file for reading on root's mount; raise OSError or Refused.

    Held before it is opened: opening a device that was put there meanwhile would act on it.
    """
    held = root.walk.seen(root, dir_fd, name)
    try:
        if not stat.S_ISREG(os.fstat(held).st_mode):
            raise Refused(Reason.TAMPERED, name, detail="it was swapped while it was opened")
        return reopened(held)
    finally:
        os.close(held)


def described(dir_fd: int, name: str, shown: str, error: OSError) -> Refused:
    """Say what made opening name fail, by looking at it without opening it."""
    number = error.errno or 0
    try:
        mode = os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            target = os.readlink(name, dir_fd=dir_fd)
            return Refused(Reason.SYMLINK, shown, target=target, err=number)
        if not stat.S_ISDIR(mode):
            return Refused(Reason.NOT_A_DIRECTORY, shown, detail=kind_of(mode), err=number)
    except OSError:
        pass  # it changed since: what the kernel said first is the answer
    return refusal(error, shown)


def _explained(root: Root, parts: Sequence[str], error: OSError) -> Refused:
    """Walk again by components only to name the one that was refused; the answer stays no."""
    try:
        os.close(PORTABLE.directory(root, parts, SEARCH))
    except Refused as refused:
        return refused
    return refusal(error, "/".join(parts))


def kind_of(mode: int) -> str:
    """Name a file type as receipts and messages do."""
    return _KINDS.get(stat.S_IFMT(mode), "unknown")


_KINDS: Final = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "char device",
    stat.S_IFBLK: "block device",
}


def choose(wanted: str, *, allow_fallback: bool) -> Walk:
    """Return the walk for `auto`, `openat2` or `portable`; raise Refused.

    Linux without openat2 refuses unless allow_fallback; elsewhere the portable walk is the
    default; a kernel or filter that denies openat2 (EPERM) is never taken for one without it.
    """
    if wanted == "portable":
        return PORTABLE
    try:
        supported = openat2.supported()
    except OSError as error:
        raise Refused(Reason.OPENAT2_DENIED, err=error.errno or 0) from None
    if supported:
        return OPENAT2
    if wanted == "openat2" or (sys.platform == "linux" and not allow_fallback):
        raise Refused(Reason.NO_OPENAT2)
    return PORTABLE
