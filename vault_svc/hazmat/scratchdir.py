"""A directory for one run's secrets: private, in memory where the host can, gone at the end.

Rule bent: a directory is made below one that others may write to (`/dev/shm`). Why that is safe:
that one is root's and sticky, the name is random, made 0700, and used by its descriptor.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from typing import Final

from vault_svc.errors import ColibriError, printable
from vault_svc.hazmat import hostfiles, trees
from vault_svc.hazmat.mounts import mount_id

_CODE: Final = "unsafe_base"
_LIST: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})


class Scratch:
    """The directory of one run: `path` for helpers, everything else by descriptor."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._fd = descriptor

    def is_full(self) -> bool:
        """Say whether not one more block can be written there."""
        return os.fstatvfs(self._fd).f_bavail == 0

    def write(self, name: str, content: bytes) -> None:
        """Make a file, 0600, that must not be there yet; raise `no_space` where there is none."""
        try:
            fd = os.open(name, _NEW, 0o600, dir_fd=self._fd)
            try:
                view = memoryview(content)
                while view:
                    view = view[os.write(fd, view) :]
            finally:
                os.close(fd)
        except OSError as error:
            raise hostfiles.explain(error, "busy", f"the private file {name}") from error

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return a file's content; raise `source_incomplete` where it is too large or no file."""
        try:
            fd = os.open(name, _READ, dir_fd=self._fd)
        except OSError as error:
            raise hostfiles.explain(
                error, "source_incomplete", f"the private file {name}"
            ) from error
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size > max_bytes:
                raise ColibriError(
                    "source_incomplete", f"the private file {name} is larger than {max_bytes} bytes"
                )
            with os.fdopen(os.dup(fd), "rb") as file:
                return file.read(max_bytes + 1)
        finally:
            os.close(fd)


@contextlib.contextmanager
def scratch(bases: Sequence[str], purpose: str, whose: str) -> Iterator[Scratch]:
    """Make a directory below the first usable base, remove it and all in it at the end.

    What a killed run left under the same purpose and whose is removed first: the caller holds
    the lock that makes it the only run. Raises `unsafe_base`, `no_space`.
    """
    prefix = f"colibri-{purpose}-{os.geteuid()}-{hashlib.sha256(whose.encode()).hexdigest()[:12]}-"
    base, parent = _usable(bases)
    try:
        _sweep(parent, base, prefix)
        name = prefix + secrets.token_hex(8)
        path = f"{base}/{name}"
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
            fd = os.open(name, _LIST, dir_fd=parent)
        except OSError as error:
            raise hostfiles.explain(error, _CODE, path) from error
        try:
            os.fchmod(fd, 0o700)
            yield Scratch(path, fd)
        finally:
            os.close(fd)
            trees.delete_tree(parent, name, path)
    finally:
        os.close(parent)


def in_memory(path: str) -> bool:
    """Say whether path lies on a file system that is never on a disk of its own (proc(5))."""
    try:
        fd = os.open(path, _LIST)
    except OSError:
        return False
    try:
        return _kind(fd) in _IN_MEMORY
    finally:
        os.close(fd)


def _kind(fd: int) -> str:
    try:
        wanted = str(mount_id(fd))
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                left, _, right = line.partition(" - ")
                if left.split(" ", 1)[0] == wanted:
                    return right.split(" ", 1)[0]
    except OSError:
        return ""
    return ""


def _usable(bases: Sequence[str]) -> tuple[str, int]:
    refusal: ColibriError | None = None
    for base in bases:
        try:
            return base, _open(base)
        except ColibriError as error:
            refusal = refusal or error
    raise refusal or ColibriError(_CODE, "there is no place for a private directory")


def _open(base: str) -> int:
    above, _, name = base.rpartition("/")
    try:
        with hostfiles.directory(above or "/", _CODE) as parent:
            fd = os.open(name, _LIST, dir_fd=parent)
    except OSError as error:
        raise hostfiles.explain(error, _CODE, base) from error
    found = os.fstat(fd)
    others = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
    if others or found.st_uid not in {0, os.geteuid()} or not os.access(base, os.W_OK):
        os.close(fd)
        raise ColibriError(_CODE, f"'{printable(base)}' is no place for a private directory")
    return fd


def _sweep(parent: int, base: str, prefix: str) -> None:
    for name in os.listdir(parent):
        if not name.startswith(prefix):
            continue
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:  # another user may make and remove such names in /dev/shm
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
            trees.delete_tree(parent, name, f"{base}/{name}")
