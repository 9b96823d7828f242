"""The contents of a state directory, kept and put back in place."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Entry:
    """One name: type and mode, owner, modification time, a file's bytes."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    content: bytes | None


def picture(top: Path) -> dict[str, Entry]:
    """Return everything below top by relative path."""
    found = {}
    for directory, inner, files in os.walk(top):
        for name in (*inner, *files):
            path = Path(directory, name)
            status = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else None
            found[str(path.relative_to(top))] = Entry(
                status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content
            )
    return found


def put_back(top: Path, wanted: dict[str, Entry]) -> None:
    """Make everything below top as it was; directories keep their inodes, as rows record them."""
    now = picture(top)
    for name in sorted(now.keys() - wanted.keys(), reverse=True):
        path = top / name
        path.rmdir() if stat.S_ISDIR(now[name].mode) else path.unlink()
    for name, entry in sorted(wanted.items()):
        if now.get(name) == entry and entry.content is not None:
            continue
        path = top / name
        if stat.S_ISDIR(entry.mode):
            path.mkdir(exist_ok=True)
        else:
            path.unlink(missing_ok=True)
            path.write_bytes(entry.content or b"")
        os.chown(path, entry.uid, entry.gid)
        path.chmod(stat.S_IMODE(entry.mode))
    for name, entry in wanted.items():
        os.utime(top / name, ns=(entry.mtime_ns, entry.mtime_ns))
