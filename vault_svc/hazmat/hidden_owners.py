"""Directories of root's above ours whose owner a user namespace hides (user_namespaces(7)).

Inside one, whoever has no number there looks like uid 65534: root, or a neighbour. Which it is
was looked at outside, where the owner is seen, and is told of by device and inode.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import Final

from vault_svc.errors import ColibriError

_NOBODY: Final = 65534  # /proc/sys/kernel/overflowuid, unless somebody changed it
_vouched: set[tuple[int, int]] = set()


def vouch(known: Iterable[str]) -> None:
    """Trust these (`device:inode`) while this process runs; raise `usage` for anything else."""
    for each in known:
        device, _, inode = each.partition(":")
        if not (device.isdecimal() and inode.isdecimal()):
            raise ColibriError(
                "usage",
                "the setting known_way is a list of device:inode",
                hint="colibri hook install writes it",
            )
        _vouched.add((int(device), int(inode)))


def is_ours_or_roots(status: os.stat_result) -> bool:
    """Say whether only root and we decide over it, as far as its owner goes."""
    if status.st_uid == 0 or status.st_uid == os.geteuid():
        return True
    return status.st_uid == _NOBODY and (status.st_dev, status.st_ino) in _vouched


def of_root(paths: Iterable[str]) -> list[str]:
    """Return, as `vouch` takes it, what on the way to paths is root's and closed to others."""
    found: list[str] = []
    for path in paths:
        parts = [part for part in path.split("/") if part]
        for number in range(len(parts) + 1):
            try:
                status = os.lstat("/" + "/".join(parts[:number]))
            except OSError:
                break
            if status.st_uid != 0 or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o022:
                break
            found.append(f"{status.st_dev}:{status.st_ino}")
    return sorted(set(found))
