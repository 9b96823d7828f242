"""The engine `directory`: a plain tree for proofs. It keeps nothing from anybody (decision 9)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy as twin

from vault_svc.adapters.clock import SystemClock
from vault_svc.adapters.jails.owners import who_runs
from vault_svc.adapters.jails.trees import JailTrees
from vault_svc.domain.receipt import Owner
from vault_svc.hazmat import proc
from vault_svc.hazmat.attach import attached
from vault_svc.hazmat.trees import Directory
from vault_svc.ports.clock import Clock
from vault_svc.ports.jail_engine import Capabilities, JailInfo, Ran

# A uid's processes are counted over the whole host (setrlimit(2)), jailed or not.
_LIMITS = proc.Limits(processes=4096, file_bytes=1 << 30)


class DirectoryEngine:
    """A tree and a change of owner: what runs there sees the whole host its uid may see."""

    name = "directory"
    capabilities = Capabilities(isolates=False)

    def __init__(self, bases: Sequence[str], clock: Clock | None = None) -> None:
        """Take the allowed bases; new jails go to the first."""
        self._trees = JailTrees(self.name, bases, _plan, clock or SystemClock())

    def unavailable(self) -> str | None:
        """Return None: every host has directories."""
        return None

    def create(self, name: str, owner: Owner) -> JailInfo:
        """Make a tree that belongs to owner; raise `jail_taken`, `jail_name_refused`."""
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
    def holding(self) -> Iterator[DirectoryEngine]:
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
        """Run argv as owner with the root as working directory, and without any isolation.

        As root it becomes owner, never uid 0; as an ordinary user it stays what we are. Raises
        `owner_unmapped`, `helper_missing`, `helper_timeout`.
        """
        user = who_runs(owner)
        with self._trees.opened(name) as (_, root):
            ran = proc.run(
                argv, timeout_seconds=timeout_seconds, user=user, cwd_fd=root, limits=_LIMITS
            )
        return Ran(ran.status, ran.stdout, ran.stderr)

    def attach(self, name: str, argv: Sequence[str], owner: Owner) -> int:
        """Run argv as owner in the root, without isolation, streams and signals passed through.

        What leaves its session outlives it: a plain tree ends nobody.
        """
        user = who_runs(owner)
        with self._trees.opened(name) as (_, root):
            return attached(argv, user=user, cwd_fd=root, limits=_LIMITS)


def _plan(owner: Owner) -> tuple[Directory, ...]:
    return (
        Directory("root", 0o755, owner),
        Directory("root/etc", 0o755, owner),
        Directory("root/home", 0o755, owner),
        Directory("root/home/app", 0o700, owner),
        Directory("root/tmp", 0o1777, owner),
        Directory("root/var", 0o755, owner),
    )
