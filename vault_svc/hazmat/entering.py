"""Runs a program in a running container's namespaces, as an ordinary user of it.

Rule bent: a process of ours goes into a jail. Why that is safe: only into a user namespace that
is not ours, where the jail's root has no power over our program; no privilege can be gained
(no_new_privs, set before); namespaces are held by descriptors that were opened while the engine
vouched for the process, so that a reused number leads nowhere else (containment.md, rule 8).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError
from vault_svc.hazmat import proc
from vault_svc.hazmat.proc import Finished

_NAMESPACES: Final = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
_FLAGS: Final = {"mnt": "mount"}
_LOOK: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC
_LIMITS: Final = proc.Limits(processes=4096, file_bytes=1 << 30)


def entered(
    pid: int,
    argv: Sequence[str],
    user: Owner,
    *,
    programs: tuple[str, str],
    still: Callable[[], bool],
    timeout_seconds: float,
) -> Finished:
    """Run argv as user, as the jail counts, beside its first process pid; empty environment.

    programs are setpriv(1) and nsenter(1); still asks the engine whether pid is still the jail's.
    Raises `jail_not_running`, `engine_failed`, and as `proc.run`.
    """
    setpriv, nsenter = programs
    with _held(pid) as (spaces, root):
        if not still():
            raise ColibriError("jail_not_running", "the jail was stopped meanwhile")
        if _same(spaces["user"], "user"):
            raise ColibriError(
                "engine_failed",
                "the jail has no user namespace of its own, and is not entered",
                hint="set PrivateUsers=pick in its .nspawn file, then start it again",
            )
        line = [setpriv, "--no-new-privs", "--", nsenter]
        line += [f"--{_FLAGS.get(kind, kind)}={_ours(fd)}" for kind, fd in spaces.items()]
        line += [f"--root={_ours(root)}", f"--wd={_ours(root)}"]
        line += [f"--setuid={user.uid}", f"--setgid={user.gid}", "--", *argv]
        return proc.run(line, timeout_seconds=timeout_seconds, limits=_LIMITS)


@contextlib.contextmanager
def _held(pid: int) -> Iterator[tuple[dict[str, int], int]]:
    """Hold the namespaces of pid that are not ours, the user namespace in any case, and its root.

    nsenter refuses to join its own.
    """
    with contextlib.ExitStack() as held:

        def opened(path: str, flags: int) -> int:
            fd = os.open(path, flags)
            held.callback(os.close, fd)
            return fd

        try:
            spaces = {
                kind: opened(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
                for kind in _NAMESPACES
            }
            root = opened(f"/proc/{pid}/root", _LOOK | os.O_DIRECTORY)
        except OSError:
            raise ColibriError("jail_not_running", "the jail cannot be looked into") from None
        yield {k: fd for k, fd in spaces.items() if k == "user" or not _same(fd, k)}, root


def _same(fd: int, kind: str) -> bool:
    ours, theirs = os.stat(f"/proc/self/ns/{kind}"), os.fstat(fd)
    return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)


def _ours(fd: int) -> str:
    # By our own /proc entry: an inherited descriptor would stay open in the jail.
    return f"/proc/{os.getpid()}/fd/{fd}"
