"""The engine `bubblewrap`: the same trees, entered by bwrap(1) with every namespace it has.

The tenant never owns a name that bwrap mounts on: `/` and its top-level directories are ours and
read-only inside, because bwrap resolves mount points by path and a tenant who could swap one for
a symlink would steer mounts and new files elsewhere (as in flatpak CVE-2024-42472).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy as twin
from functools import cached_property
from pathlib import Path
from typing import Final

from vault_svc.adapters.clock import SystemClock
from vault_svc.adapters.jails.owners import who_runs
from vault_svc.adapters.jails.trees import JailTrees
from vault_svc.domain.delivered import MOUNT_POINT
from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError, printable
from vault_svc.hazmat import proc
from vault_svc.hazmat.attach import attached
from vault_svc.hazmat.trees import Directory
from vault_svc.ports.clock import Clock
from vault_svc.ports.jail_engine import NOT_ROOT, Capabilities, JailInfo, Ran

_PROGRAMS: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FROM_HOST: Final = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
_WRITABLE: Final = ("home", "srv", "var")
_RUN: Final = "/run"
_TMP_BYTES: Final = 64 << 20
_TRIAL_SECONDS: Final = 10.0
# A uid's processes are counted over the whole host (setrlimit(2)), jailed or not.
_LIMITS: Final = proc.Limits(processes=4096, file_bytes=1 << 30)


class BubblewrapEngine:
    """Jails of their own mounts, processes, network, IPC, host name and cgroup view.

    As root without a user namespace: setpriv(1) becomes the owner inside, started from the
    host's read-only /usr with nothing of the tenant's in its way. As an ordinary user with one.
    """

    name = "bubblewrap"
    capabilities = Capabilities(tmpfs=os.geteuid() == 0, no_tmpfs=NOT_ROOT)

    def __init__(
        self,
        bases: Sequence[str],
        clock: Clock | None = None,
        *,
        programs: str = _PROGRAMS,
        memory: Callable[[str], str] = lambda _: "",
    ) -> None:
        """Take the allowed bases (new jails go to the first) and where programs are looked for.

        memory: the host path of a jail's memory file system, "" for one without.
        """
        self._trees = JailTrees(self.name, bases, _plan, clock or SystemClock())
        self._programs = programs
        self._memory = memory

    def unavailable(self) -> str | None:
        """Return why a trial run failed, None if it worked; tried once."""
        return self._trial

    def create(self, name: str, owner: Owner) -> JailInfo:
        """Make a tree whose home, srv and var owner may use; raise `jail_taken`."""
        return self._trees.create(name, owner)

    def destroy(self, name: str) -> None:
        """Delete the tree by descriptors; raise `jail_not_found`, `crosses_mount`, `tampered`."""
        self._trees.destroy(name)

    def start(self, name: str) -> None:
        """Do nothing for a jail that is there: each command is a process tree of its own."""
        self._trees.root_of(name)

    def stop(self, name: str) -> None:
        """Do nothing for a jail that is there: what a command left ended with it."""
        self._trees.must_have(name)

    def pid_of(self, name: str) -> int | None:
        """Return None: a jail has no process of its own."""
        self._trees.root_of(name)
        return None

    def list(self) -> list[JailInfo]:
        """Return this engine's jails, sorted by name."""
        return self._trees.list()

    @contextmanager
    def holding(self) -> Iterator[BubblewrapEngine]:
        """Yield this engine with its bases proven once and held, for one batch of `root_of`."""
        with self._trees.holding() as trees:
            within = twin(self)
            within._trees = trees  # noqa: SLF001 - a copy of this very object
            yield within

    def root_of(self, name: str) -> str:
        """Return the host path of the jail's root; raise `jail_not_found`."""
        return self._trees.root_of(name)

    def run(
        self, name: str, argv: Sequence[str], owner: Owner, *, timeout_seconds: float = 30.0
    ) -> Ran:
        """Run argv as owner in the jail, in its `/`, without network or environment.

        Raises `owner_unmapped`, `helper_missing`, `helper_timeout`, `jail_root_not_plain`.
        """
        with self._entrance(name, owner) as entrance:
            ran = proc.run([*entrance, *argv], timeout_seconds=timeout_seconds, limits=_LIMITS)
        return Ran(ran.status, ran.stdout, ran.stderr)

    def attach(self, name: str, argv: Sequence[str], owner: Owner) -> int:
        """Run argv as owner in the jail, streams and signals passed through; raises as run.

        When it ends, and when we are killed, its process namespace goes with all in it.
        """
        with self._entrance(name, owner) as entrance:
            return attached([*entrance, *argv], limits=_LIMITS, inside=True)

    @contextmanager
    def _entrance(self, name: str, owner: Owner) -> Iterator[Sequence[str]]:
        """Hold a jail open: the command line by which one enters it as owner."""
        user = who_runs(owner)
        with self._trees.opened(name) as (root, _):
            tree = ["--ro-bind", root, "/"]
            for part in self._trees.plain_parts(name, _WRITABLE):
                tree += ["--bind", f"{root}/{part}", f"/{part}"]
            for part in _FROM_HOST:
                if Path("/", part).is_dir():
                    tree += ["--ro-bind", f"/{part}", f"/{part}"]
            if memory := self._memory(name):
                # Of our own making, so that no name of the jail's is mounted on.
                tree += ["--perms", "0755", "--tmpfs", _RUN, "--bind", memory, MOUNT_POINT]
                tree += ["--remount-ro", _RUN]
            yield self._line(tree, name, user)

    def _line(self, tree: Sequence[str], host: str, user: Owner | None) -> Sequence[str]:
        line = [self._find("bwrap"), *_namespaces(host, user), *tree, *_pseudo_files(), "--"]
        return line if user is None else [*line, *_become(self._find("setpriv"), user)]

    @cached_property
    def _trial(self) -> str | None:
        # Any owner but root does: what is tried is whether namespaces and the drop are allowed.
        user = Owner(65534, 65534) if os.geteuid() == 0 else None
        try:
            tree = ["--ro-bind", "/", "/"]
            line = [*self._line(tree, "trial", user), "/bin/sh", "-c", ":"]
            ran = proc.run(line, timeout_seconds=_TRIAL_SECONDS, limits=_LIMITS)
        except ColibriError as error:
            return error.message
        if ran.status == 0:
            return None
        said = ran.stderr.decode(errors="replace").strip().splitlines()
        return f"a trial run failed: {printable(said[-1][:200]) if said else ran.status}"

    def _find(self, program: str) -> str:
        found = shutil.which(program, path=self._programs)
        if found is None:
            raise ColibriError(
                "helper_missing", f"{program} is not installed", hint="apt-get install bubblewrap"
            )
        return found


def _namespaces(host: str, user: Owner | None) -> list[str]:
    kinds = ["ipc", "pid", "net", "uts", "cgroup-try", *([] if os.geteuid() == 0 else ["user"])]
    # What setpriv needs to become somebody else and to give up the rest (capabilities(7)).
    keep = [] if user is None else ["CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"]
    return [
        "--die-with-parent",
        "--new-session",
        "--clearenv",
        *(f"--unshare-{kind}" for kind in kinds),
        "--hostname",
        host,
        *(part for capability in keep for part in ("--cap-add", capability)),
    ]


def _pseudo_files() -> list[str]:
    tmp = ["--perms", "1777", "--size", str(_TMP_BYTES), "--tmpfs", "/tmp"]  # noqa: S108 - inside
    return ["--proc", "/proc", "--dev", "/dev", *tmp, "--chdir", "/"]


def _become(setpriv: str, user: Owner) -> list[str]:
    return [
        setpriv,
        f"--reuid={user.uid}",
        f"--regid={user.gid}",
        "--clear-groups",
        "--inh-caps=-all",
        "--ambient-caps=-all",
        "--bounding-set=-all",
        "--no-new-privs",
        "--",
    ]


def _plan(owner: Owner) -> tuple[Directory, ...]:
    mount_points = ("dev", "proc", "run", "tmp", *_FROM_HOST)
    return (
        Directory("root", 0o755),
        Directory("root/etc", 0o755),
        *(Directory(f"root/{part}", 0o755, owner) for part in _WRITABLE),
        Directory("root/home/app", 0o700, owner),
        *(Directory(f"root/{part}", 0o755) for part in mount_points),
    )
