"""Writers as people write them: positive controls that the attacks work (decision 22).

Each checks a string and then uses it again. Never use one of these for anything else.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from vault_svc.domain.receipt import Owner


class OutsideError(Exception):
    """The naive check saw an escape."""


def _write(path: str, content: bytes, owner: Owner) -> None:
    with open(path, "wb") as handle:
        handle.write(content)
    os.chmod(path, 0o600)
    os.chown(path, owner.uid, owner.gid)


def plain(root: str, path: str, content: bytes, owner: Owner) -> None:
    """No check at all: what `cp` on the host path does."""
    _write(f"{root}/{path}", content, owner)


def realpath(root: str, path: str, content: bytes, owner: Owner) -> None:
    """Resolve, compare the prefix, write to the result."""
    resolved = os.path.realpath(f"{root}/{path}")
    if not resolved.startswith(root + "/"):
        raise OutsideError
    _write(resolved, content, owner)


def open_original(root: str, path: str, content: bytes, owner: Owner) -> None:
    """Resolve, compare the prefix, write to what was asked for."""
    if not os.path.realpath(f"{root}/{path}").startswith(root + "/"):
        raise OutsideError
    _write(f"{root}/{path}", content, owner)


def no_follow(root: str, path: str, content: bytes, owner: Owner) -> None:
    """Resolve the directory; open the file without following it."""
    directory = os.path.realpath(os.path.dirname(f"{root}/{path}"))
    if not directory.startswith(root + "/"):
        raise OutsideError
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    fd = os.open(os.path.join(directory, os.path.basename(path)), flags, 0o600)
    try:
        os.fchown(fd, owner.uid, owner.gid)
        os.fchmod(fd, 0o600)
        os.write(fd, content)
    finally:
        os.close(fd)


def mkstemp(root: str, path: str, content: bytes, owner: Owner) -> None:
    """Resolve the directory; a synced temporary file, chown by name, rename."""
    directory = os.path.realpath(os.path.dirname(f"{root}/{path}"))
    if not directory.startswith(root + "/"):
        raise OutsideError
    fd, name = tempfile.mkstemp(prefix=".env.", dir=directory)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    try:
        os.chmod(name, 0o600)
        os.chown(name, owner.uid, owner.gid)
        os.rename(name, os.path.join(directory, os.path.basename(path)))
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def lstat_each(root: str, path: str, content: bytes, owner: Owner) -> None:
    """Look at every component, then open the string."""
    seen = Path(root)
    for part in path.split("/"):
        seen /= part
        if seen.is_symlink():
            raise OutsideError
    _write(f"{root}/{path}", content, owner)


def remove(root: str, path: str) -> None:
    """Resolve the directory, compare, unlink by name."""
    directory = os.path.realpath(os.path.dirname(f"{root}/{path}"))
    if not directory.startswith(root + "/"):
        raise OutsideError
    os.unlink(f"{root}/{path}")


def make_parents(root: str, path: str, content: bytes, owner: Owner) -> None:
    """Make the directories by name, give them away by name, write."""
    directory = os.path.dirname(f"{root}/{path}")
    os.makedirs(directory, exist_ok=True)
    os.chown(directory, owner.uid, owner.gid)
    realpath(root, path, content, owner)


def read(root: str, path: str) -> bytes:
    """Resolve, compare, read what was asked for."""
    if not os.path.realpath(f"{root}/{path}").startswith(root + "/"):
        raise OutsideError
    return Path(root, path).read_bytes()
