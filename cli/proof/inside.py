"""Runs another script of this folder inside a jail: `python -I inside.py SCRIPT ROOT UID GID ...`.

Part of the proof, not of the product: this is the hostile or the reading tenant. It is a process
of its own, imports nothing of colibri, and is confined before it does anything: as root by chroot
and a change of uid, as an ordinary user by a user namespace and chroot where the kernel allows.
The script's `main(arguments, root, how)` gets `/` as root, or the host path where nothing worked.
"""

from __future__ import annotations

import ctypes
import os
import resource
import runpy
import sys

_CLONE_NEWUSER = 0x10000000


def _limit() -> None:
    limits = (
        (resource.RLIMIT_CPU, 60),
        (resource.RLIMIT_AS, 1 << 30),
        (resource.RLIMIT_FSIZE, 1 << 20),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    )
    for limit, most in limits:
        resource.setrlimit(limit, (most, most))


def _map(name: str, text: str) -> None:
    with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123 - no imports
        file.write(text)


def _own_namespace() -> bool:
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare") or libc.unshare(_CLONE_NEWUSER) != 0:
        return False
    try:
        _map("setgroups", "deny")
        _map("uid_map", f"{uid} {uid} 1")
        _map("gid_map", f"{gid} {gid} 1")
    except OSError:
        return False
    return True


def confine(root: str, uid: int, gid: int) -> str:
    """Enter root as uid:gid; return `chroot`, `user namespace`, or `plain` if nothing worked."""
    if os.geteuid() == 0:
        os.chroot(root)
        os.chdir("/")
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        return "chroot"
    if not _own_namespace():
        return "plain"
    try:
        os.chroot(root)
    except OSError:
        return "plain"
    os.chdir("/")
    return "user namespace"


if __name__ == "__main__":
    script, where, as_uid, as_gid, *rest = sys.argv[1:]
    _limit()
    entered = runpy.run_path(script)  # imports and definitions, while the host's files are there
    manner = confine(where, int(as_uid), int(as_gid))
    sys.exit(entered["main"](rest, where if manner == "plain" else "/", manner))
