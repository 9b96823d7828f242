"""Whether a running jail has its memory file system, told by its mount table alone.

Nothing is opened on the jail's side: a mount of the tenant's on the way (FUSE) could answer never.
Source: proc_pid_mountinfo(5), which a process's own root cuts to what it sees.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from vault_svc.domain.ids import SAME
from vault_svc.hazmat.confine_error import Reason, Refused
from vault_svc.hazmat.confine_walk import Root
from vault_svc.hazmat.jail_view import IDMAPPED, View, ids_of

_ESCAPE: Final = re.compile(r"\\([0-7]{3})")
_MOST_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class _Mount:
    number: str
    parent: str
    device: str
    top: str
    point: str
    options: tuple[str, ...]


@contextlib.contextmanager
def memory_seen(pid: int, inside: str, point: str, root: Root) -> Iterator[View]:
    """Look into the jail of this first process, whose root is at inside, and has root at point.

    Raises Refused: NO_MEMORY where it has another file system there, SHADOWED where one of its
    own is in it; NOT_RUNNING.
    """
    where = inside.rstrip("/") + point
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        raise Refused(Reason.NOT_RUNNING, err=error.errno or 0) from None
    try:
        try:
            mounts, ids = _mounts(pid), ids_of(pid)
        except (OSError, ValueError) as error:
            number = getattr(error, "errno", 0) or 0
            raise Refused(Reason.NOT_RUNNING, err=number) from None
        seen = _at(mounts, where)
        if seen is None or (seen.device, seen.top) != (_device(root), "/"):
            raise Refused(Reason.NO_MEMORY, point)
        if any(mount.point.startswith(where + "/") for mount in mounts):
            raise Refused(Reason.SHADOWED, point, detail="something is mounted in it")
        disk = SAME if IDMAPPED in seen.options else ids
        # What it is there is what it is here: one file system, and numbers as the mount has them.
        yield View(pidfd, root, disk, disk)
    finally:
        os.close(pidfd)


def _device(root: Root) -> str:
    device = os.fstat(root.fd).st_dev
    return f"{os.major(device)}:{os.minor(device)}"


def _mounts(pid: int) -> list[_Mount]:
    with open(f"/proc/{pid}/mountinfo", "rb") as lines:
        whole = lines.read(_MOST_BYTES + 1)
    if len(whole) > _MOST_BYTES:
        raise ValueError("more mounts than any jail needs")
    return [_mount(line.split(" ")) for line in os.fsdecode(whole).split("\n") if line]


def _mount(fields: list[str]) -> _Mount:
    number, parent, device, top, point, options = fields[:6]
    return _Mount(number, parent, device, _plain(top), _plain(point), tuple(options.split(",")))


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


def _at(mounts: list[_Mount], path: str) -> _Mount | None:
    """Return the mount that a process reaches at exactly this path; None if there is none of its.

    From the topmost on `/` down: at each name the last one stacked on it is what is entered.
    """
    numbers = {mount.number for mount in mounts}
    now = next((mount for mount in mounts if mount.parent not in numbers), None)
    places = [
        "/",
        *("/" + "/".join(path[1:].split("/")[: end + 1]) for end in range(path.count("/"))),
    ]
    while now is not None:
        above = next(
            (
                mount
                for place in places
                for mount in mounts
                if mount.parent == now.number and mount.point == place and mount is not now
            ),
            None,
        )
        if above is None:
            return now if now.point == path else None
        now = above
    return None
