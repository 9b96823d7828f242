"""Digests of programs and their trees, by descriptors: only what no other user could change.

Rule bent: raw descriptors instead of pathlib. Why that is safe: every component is opened with
O_NOFOLLOW relative to the one before and judged on its descriptor, as `hostfiles` does.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from typing import Final

from vault_svc.errors import ColibriError, printable
from vault_svc.hazmat import hostfiles

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_ENTER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK: Final = 1 << 20
MAX_FILES: Final = 200_000
MAX_DEPTH: Final = 64


def file_digest(path: str, code: str) -> str:
    """Return the SHA-256 (hex) of a regular file, ours or root's, that no other can change.

    Raises code, or FileNotFoundError.
    """
    above, _, name = path.rpartition("/")
    with hostfiles.directory(above or "/", code) as parent:
        return _file(parent, name, path, code)


def read_head(path: str, code: str, *, max_bytes: int = 256) -> bytes:
    """Return the first bytes of such a file; raise code, or FileNotFoundError."""
    above, _, name = path.rpartition("/")
    with hostfiles.directory(above or "/", code) as parent:
        fd = os.open(name, _READ, dir_fd=parent)
        try:
            _refuse_changeable(os.fstat(fd), path, code)
            return os.read(fd, max_bytes)
        finally:
            os.close(fd)


def read_file(path: str, code: str, *, max_bytes: int) -> bytes:
    """Return the content of such a file; raise code, or FileNotFoundError."""
    above, _, name = path.rpartition("/")
    modes = range(0o1000)
    with hostfiles.directory(above or "/", code) as parent:
        _refuse_changeable(os.stat(name, dir_fd=parent, follow_symlinks=False), path, code)
        return hostfiles.read_at(parent, name, code, max_bytes=max_bytes, modes=modes)


def tree_digest(path: str, code: str) -> str:
    """Return the SHA-256 (hex) over every file's relative path and digest, in sorted order.

    Symbolic links count by their target, which must lie in the tree. Directories count by what
    is in them. Raises code for anything another user could change, or FileNotFoundError.
    """
    total, count = hashlib.sha256(), 0
    with hostfiles.directory(path, code) as root:
        for line in _lines(root, path, "", code, 0):
            count += 1
            if count > MAX_FILES:
                raise ColibriError(code, f"'{printable(path)}' has more than {MAX_FILES} files")
            total.update(line)
    return total.hexdigest()


def _lines(here: int, root: str, below: str, code: str, depth: int) -> Iterator[bytes]:
    if depth > MAX_DEPTH:
        raise ColibriError(code, f"'{printable(root)}' is deeper than {MAX_DEPTH}")
    with os.scandir(here) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        name, path = entry.name, f"{below}{entry.name}"
        shown = f"{root}/{path}"
        if entry.is_dir(follow_symlinks=False):
            child = os.open(name, _ENTER, dir_fd=here)
            try:
                _refuse_changeable(os.fstat(child), shown, code)
                yield from _lines(child, root, f"{path}/", code, depth + 1)
            finally:
                os.close(child)
        elif entry.is_symlink():
            yield f"L {path}\0{_target(here, name, path, shown, code)}\n".encode("utf-8", "replace")
        else:
            digest = _file(here, name, shown, code)
            yield f"F {path}\0{digest}\n".encode("utf-8", "replace")


def _target(here: int, name: str, path: str, shown: str, code: str) -> str:
    target = os.readlink(name, dir_fd=here)
    depth = path.count("/")
    for part in target.split("/"):
        depth += -1 if part == ".." else part not in {"", "."}
        if depth < 0:
            break
    if target.startswith("/") or depth < 0:
        raise ColibriError(code, f"'{printable(shown)}' leads out of the tree")
    return target


def _file(parent: int, name: str, shown: str, code: str) -> str:
    try:
        fd = os.open(name, _READ, dir_fd=parent)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise hostfiles.explain(error, code, shown) from error
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise ColibriError(code, f"'{printable(shown)}' is no regular file")
        _refuse_changeable(found, shown, code)
        digest, left = hashlib.sha256(), found.st_size
        while chunk := os.read(fd, _CHUNK):
            digest.update(chunk)
            left -= len(chunk)
            if left == 0:  # one call less for each of thousands of files
                break
        return digest.hexdigest()
    finally:
        os.close(fd)


def _refuse_changeable(found: os.stat_result, shown: str, code: str) -> None:
    if found.st_uid not in {0, os.geteuid()}:
        raise ColibriError(code, f"'{printable(shown)}' belongs to uid {found.st_uid}")
    if found.st_mode & 0o022:
        raise ColibriError(
            code,
            f"'{printable(shown)}' can be written to by others",
            hint=f"chmod go-w '{printable(shown)}'",
        )
