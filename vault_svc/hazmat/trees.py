"""Making a jail's tree and deleting one a tenant has had its hands in, by descriptors only.

Rule bent: deletion as root in a hostile tree. Why that is safe: every name is a single component
relative to a directory opened with O_NOFOLLOW on the tree's own mount, so no symlink is followed
and nothing outside is reached (systemd-tmpfiles CVE-2017-18078, CVE-2018-6954 did follow).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError, printable
from vault_svc.hazmat.hostfiles import explain
from vault_svc.hazmat.mounts import mount_id

_LIST: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# How often a tree that changes under our hands is taken up again before we give up.
_MAX_RESTARTS: Final = 1000


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory to be made: path below the tree's root, mode, and whose it is (None: ours)."""

    path: str
    mode: int
    owner: Owner | None = None


def make_tree(parent: int, plan: Sequence[Directory]) -> None:
    """Make every directory of plan below parent, which nobody else can enter yet.

    Raises OSError.
    """
    for entry in plan:
        os.mkdir(entry.path, 0o700, dir_fd=parent)
    # Owners last: from then on what lies below is somebody else's to change.
    for entry in reversed(plan):
        fd = os.open(entry.path, _LIST, dir_fd=parent)
        try:
            if entry.owner is not None and os.geteuid() == 0:
                os.fchown(fd, entry.owner.uid, entry.owner.gid)
            os.fchmod(fd, entry.mode)
        finally:
            os.close(fd)


def delete_tree(parent: int, name: str, path: str) -> bool:
    """Delete the directory name in parent and all below it; return whether it was there.

    path is its absolute host path, for messages and to find mounts below it before anything is
    deleted. Raises `crosses_mount`, `tampered` (it keeps changing, or something in it resists),
    `read_only`. Depth costs no descriptors; the caller holds the only way to the name.
    """
    _refuse_mounts_below(path)
    try:
        root = os.open(name, _LIST, dir_fd=parent)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise explain(error, "tampered", path) from error
    try:
        _Deleter(root, path).run()
        os.rmdir(name, dir_fd=parent)
    except OSError as error:
        raise _resisting(error, path) from error
    finally:
        os.close(root)
    return True


@dataclass(slots=True)
class _Level:
    """A directory on the way down: its identity, its name in its parent, what is left in it."""

    identity: tuple[int, int]
    name: str
    todo: list[str] = field(default_factory=list)
    scans: int = 0


class _MovedError(Exception):
    """A directory is no longer where we came in from."""


class _Deleter:
    """Empties one tree: one descriptor, and the way back up proven by identity at each step."""

    def __init__(self, root: int, path: str) -> None:
        self._root = root
        self._path = path
        self._mount = mount_id(root)

    def run(self) -> None:
        for _ in range(_MAX_RESTARTS):
            try:
                self._pass()
            except _MovedError:
                continue
            return
        raise self._restless()

    def _pass(self) -> None:
        here = os.dup(self._root)
        try:
            self._take(here)
            levels = [_Level(_identity(here), "")]
            while levels:
                here = self._step(here, levels)
        finally:
            os.close(here)

    def _step(self, here: int, levels: list[_Level]) -> int:
        """Go on in the deepest directory; return the descriptor of the one that is next."""
        level = levels[-1]
        if not level.todo:
            if level.scans > _MAX_RESTARTS:
                raise self._restless()
            level.scans += 1
            level.todo = _unlink_all(here)
        if level.todo:
            return self._enter(here, levels)
        return self._leave(here, levels)

    def _enter(self, here: int, levels: list[_Level]) -> int:
        name = levels[-1].todo.pop()
        try:
            child = self._open(here, name)
        except FileNotFoundError:
            return here
        except NotADirectoryError:
            return here  # swapped for a file or link since the look: the next scan takes it
        try:
            self._take(child)
            levels.append(_Level(_identity(child), name))
        except BaseException:
            os.close(child)
            raise
        os.close(here)
        return child

    def _leave(self, here: int, levels: list[_Level]) -> int:
        done = levels.pop()
        if not levels:
            return here
        above = os.open("..", _LIST, dir_fd=here)
        if _identity(above) != levels[-1].identity:
            os.close(above)
            raise _MovedError
        os.close(here)
        try:
            os.rmdir(done.name, dir_fd=above)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
                os.close(above)
                raise
        return above

    def _open(self, here: int, name: str) -> int:
        try:
            return os.open(name, _LIST, dir_fd=here)
        except PermissionError:
            _unlock(here, name)
            return os.open(name, _LIST, dir_fd=here)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.EMLINK}:
                raise NotADirectoryError from None
            raise

    def _take(self, fd: int) -> None:
        """Make the directory ours alone, so that its tenant can't play with it any longer."""
        if mount_id(fd) != self._mount:
            raise _crosses(self._path)
        if os.geteuid() == 0:
            os.fchown(fd, 0, 0)
        os.fchmod(fd, 0o700)

    def _restless(self) -> ColibriError:
        return ColibriError(
            "tampered",
            f"'{printable(self._path)}' keeps changing while it is deleted",
            hint="stop what runs in the jail, then destroy it again",
        )


def _identity(fd: int) -> tuple[int, int]:
    state = os.fstat(fd)
    return state.st_dev, state.st_ino


def _unlink_all(here: int) -> list[str]:
    """Delete everything but directories; return the names of those that are not empty."""
    left = []
    for name in os.listdir(here):
        try:
            os.unlink(name, dir_fd=here)
        except FileNotFoundError:
            continue
        except OSError as error:
            # A directory: EISDIR on Linux, EPERM on FreeBSD (unlink(2)).
            if error.errno not in {errno.EISDIR, errno.EPERM} or not _is_directory(here, name):
                raise
            if not _rmdir_empty(here, name):
                left.append(name)
    return left


def _is_directory(here: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return True  # gone: the way down will find nothing either


def _rmdir_empty(here: int, name: str) -> bool:
    try:
        os.rmdir(name, dir_fd=here)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            return False
        raise
    return True


def _unlock(here: int, name: str) -> None:
    """Let us read a directory of ours whose mode forbids it, without following a link."""
    if os.chmod in os.supports_follow_symlinks:
        os.chmod(name, 0o700, dir_fd=here, follow_symlinks=False)
        return
    fd = os.open(name, _LOOK, dir_fd=here)
    try:
        os.chmod(f"/proc/self/fd/{fd}", 0o700)  # O_PATH: fchmod refuses, the link is the inode
    finally:
        os.close(fd)


def _refuse_mounts_below(path: str) -> None:
    """Raise `crosses_mount` where this host's mount table shows one at or below path."""
    if sys.platform != "linux":
        return  # there, crossing is seen on the way down by st_dev (nullfs overrides it)
    with open("/proc/self/mountinfo", "rb") as table:
        points = [_unescaped(line.split(b" ")[4]) for line in table]
    wanted = os.fsencode(path)
    if any(point == wanted or point.startswith(wanted + b"/") for point in points):
        raise _crosses(path)


def _unescaped(field_: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), field_)


def _crosses(path: str) -> ColibriError:
    return ColibriError(
        "crosses_mount",
        f"something is mounted in '{printable(path)}'",
        hint="unmount it, then try again",
    )


def _resisting(error: OSError, path: str) -> ColibriError:
    if error.errno == errno.EBUSY:
        return _crosses(path)
    found = explain(error, "tampered", path)
    return ColibriError(found.code, f"cannot delete all of {found.message}")


def publish(parent: int, temporary: str, name: str) -> bool:
    """Give a finished directory its name durably; return False where something stands there.

    An empty directory, which a crash may have left, is replaced (rename(2)).
    """
    try:
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError as error:
        if error.errno in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}:
            return False
        raise
    os.fsync(parent)
    return True


def entries(parent: int) -> list[str]:
    """Return the names in a directory."""
    return os.listdir(parent)


def subdirectory(parent: int, name: str) -> int | None:
    """Open a plain directory in parent; None where there is none or something else stands."""
    try:
        return os.open(name, _LIST, dir_fd=parent)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EMLINK}:
            return None
        raise


def remove_empty(parent: int, name: str) -> None:
    """Remove an empty directory durably if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(name, dir_fd=parent)
    os.fsync(parent)
