"""Files and directories that are ours alone, right from the moment they have a name.

Rule bent: names are opened, not descriptors of parents. Safe because the directory is proven to
belong to us and to be writable by nobody else, so no other user can put another file there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from typing import Final

from vault_svc.errors import ColibriError

OTHERS: Final = 0o077
OTHERS_WRITE: Final = 0o022


def make_directory(path: str, code: str) -> None:
    """Check path, or make it, 0700 whatever the umask is; its parent must exist."""
    with contextlib.suppress(FileNotFoundError):
        check_directory(path, code)
        return
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    else:
        os.chmod(path, 0o700)
    check_directory(path, code)


def check_directory(path: str, code: str, forbidden: int = OTHERS) -> None:
    """Raise code unless path is a real directory, ours, without the forbidden mode bits.

    A missing directory raises FileNotFoundError.
    """
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise ColibriError(code, f"'{path}' is not a plain directory", hint="move it away")
    _check_owner(path, found, code)
    _check_mode(path, found, code, forbidden)


def check_file(path: str, code: str) -> os.stat_result:
    """Raise code unless path is a regular file with one name, ours, mode 0600 or less.

    A missing file raises FileNotFoundError.
    """
    found = os.lstat(path)
    _check_regular(path, found, code)
    return found


def open_file(path: str, flags: int, code: str) -> tuple[int, bool]:
    """Open path without following a link and check it; return (descriptor, whether it is new).

    With O_CREAT a missing file is made 0600 whatever the umask is. Raises code for what is not
    ours, OSError otherwise.
    """
    # O_NONBLOCK: a fifo in the file's place must not hang us; no effect on regular files.
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    created = False
    if flags & os.O_CREAT:
        try:
            descriptor, created = os.open(path, flags | os.O_EXCL, 0o600), True
        except FileExistsError:
            descriptor = _open_existing(path, flags & ~os.O_CREAT, code)
    else:
        descriptor = _open_existing(path, flags, code)
    try:
        if created:
            os.fchmod(descriptor, 0o600)
        _check_regular(path, os.fstat(descriptor), code)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, created


@contextlib.contextmanager
def locked_directory(path: str) -> Iterator[None]:
    """Hold a directory's advisory lock; whoever else asks for it waits."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def rename(old: str, new: str) -> None:
    """Give old the name new; durable once its directory is synced."""
    os.rename(old, new)


def remove(path: str) -> None:
    """Remove a name; one that is not there is removed already."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def sync_directory(path: str) -> None:
    """Make names in path durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_existing(path: str, flags: int, code: str) -> int:
    try:
        return os.open(path, flags)
    except OSError:
        # Says in words what stands there, if that is why.
        _check_regular(path, os.lstat(path), code)
        raise


def _check_regular(path: str, found: os.stat_result, code: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ColibriError(
            code, f"'{path}' is not a regular file", hint="find out who put it there"
        )
    _check_owner(path, found, code)
    _check_mode(path, found, code, OTHERS)
    if found.st_nlink != 1:
        raise ColibriError(
            code,
            f"'{path}' has {found.st_nlink} names",
            hint="find out who linked it, and remove the other names",
        )


def _check_owner(path: str, found: os.stat_result, code: str) -> None:
    if found.st_uid != os.geteuid():
        raise ColibriError(
            code,
            f"'{path}' belongs to uid {found.st_uid}, we are uid {os.geteuid()}",
            hint="run colibri as the user who ran colibri init",
        )


def _check_mode(path: str, found: os.stat_result, code: str, forbidden: int) -> None:
    mode = stat.S_IMODE(found.st_mode)
    if mode & forbidden:
        raise ColibriError(
            code,
            f"'{path}' has mode {mode:04o}: others could read or change it",
            hint=f"chmod {mode & ~forbidden:04o} '{path}', once you know why",
        )
