"""What the host looks like outside the jail: any difference is an escape."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

Picture = dict[str, tuple[object, ...]]


def picture(top: Path) -> Picture:
    """Return every name below top with kind, inode, owner, mode, links, size, times and content.

    Times are mtime and ctime in ns: a chown that was undone shows, a read does not.
    """
    found = {".": _entry(top)}
    for directory, subdirectories, files in os.walk(top):
        for name in (*subdirectories, *files):
            path = Path(directory, name)
            found[str(path.relative_to(top))] = _entry(path)
    return found


def differences(before: Picture, after: Picture) -> list[str]:
    """Return the names that appeared, went or changed."""
    return sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )


def _entry(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    content = ""
    if stat.S_ISREG(status.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    elif stat.S_ISLNK(status.st_mode):
        content = str(path.readlink())
    return (
        stat.S_IFMT(status.st_mode),
        status.st_ino,
        status.st_uid,
        status.st_gid,
        stat.S_IMODE(status.st_mode),
        status.st_nlink,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        content,
    )
