"""What creates, lists and enters jails, and is the authority on a jail's root."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError

NOT_ROOT: Final = "only root can mount one"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do: services ask this, never the engine's name.

    isolates: a tenant inside is kept from the host's files at all. stable_roots: a jail's root
    keeps its path for the jail's whole life (decision 7). starts: jails have a process of their
    own, to be started and stopped. user_namespace: they may count ids by a map of their own.
    hook: the engine itself calls colibri before a jail's first instruction. hook_only: nobody
    else can deliver, because the host does not see the roots. tmpfs: it can mount a memory file
    system for what is delivered; no_tmpfs says why it cannot. pids: a running jail has a first
    process. proven: it ran here against the real engine (decision 27).
    """

    isolates: bool = True
    stable_roots: bool = True
    starts: bool = False
    user_namespace: bool = False
    hook: bool = False
    hook_only: bool = False
    tmpfs: bool = False
    no_tmpfs: str = "it has no way to mount one"
    pids: bool = True
    proven: bool = True


@dataclass(frozen=True, slots=True)
class JailInfo:
    """A jail as its engine lists it.

    root is empty while the engine has none to show; running is None where jails have no process
    of their own.
    """

    name: str
    root: str
    engine: str
    running: bool | None = None


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command in a jail came to: exit status and bounded output."""

    status: int
    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)


class PartListError(ColibriError):
    """Not all of an engine's jails could be listed, for this reason; found are the others."""

    def __init__(self, why: ColibriError, found: Sequence[JailInfo]) -> None:
        """Take what kept the rest away."""
        super().__init__(why.code, why.message, hint=why.hint, tenant=why.tenant)
        self.found = tuple(found)


@runtime_checkable
class HoldsBases(Protocol):
    """An engine that need not walk to its base again for every jail; none has to be one."""

    def holding(self) -> AbstractContextManager[JailEngine]:
        """Return this engine with its bases proven once and held, for one batch of `root_of`."""
        ...


@runtime_checkable
class TellsIds(Protocol):
    """An engine that can say of a stopped jail whether it counts ids by a map of its own."""

    def shifts(self, name: str) -> bool:
        """Say whether the jail will have a user namespace; raise `jail_not_found`."""
        ...


@runtime_checkable
class TellsMemory(Protocol):
    """An engine that can say of any jail whether it was made with its memory."""

    def refuse_without_memory(self, name: str, root: str) -> None:
        """Raise `shadowed` unless the jail gets the host's root where it has its memory.

        Raises `jail_not_found` too.
        """
        ...


class JailEngine(Protocol):
    """One kind of jail; names are exact, never prefixes or patterns."""

    @property
    def name(self) -> str:
        """The engine's name in rows."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do on this host."""
        ...

    def unavailable(self) -> str | None:
        """Return why this host can't run it, from a trial run; None if it can."""
        ...

    def create(self, name: str, owner: Owner) -> JailInfo:
        """Make a jail, not started, that owner may use; raise `jail_taken`, `jail_name_refused`.

        Where the operator's image or template fills the tree, that says what owner may use.
        """
        ...

    def destroy(self, name: str) -> None:
        """Remove a jail and its tree, never following what the tenant left in it."""
        ...

    def start(self, name: str) -> None:
        """Let a jail run; nothing to do for one that does, or has no process of its own."""
        ...

    def stop(self, name: str) -> None:
        """End a jail's processes; nothing to do for one that has none."""
        ...

    def list(self) -> list[JailInfo]:
        """Return this engine's jails, sorted by name; none where the engine is not installed.

        Raises PartListError where some can be told and others not.
        """
        ...

    def root_of(self, name: str) -> str:
        """Return the host path of the jail's root now.

        Raises `jail_not_found`, and `jail_not_running` where only a running jail has one.
        """
        ...

    def pid_of(self, name: str) -> int | None:
        """Return the host's number of the jail's first process, None for a jail without one."""
        ...

    def run(
        self, name: str, argv: Sequence[str], owner: Owner, *, timeout_seconds: float = 30.0
    ) -> Ran:
        """Run argv in the jail as owner, with nothing of our environment and bounded output.

        Raises `jail_not_running` where only a running jail can be entered.
        """
        ...

    def attach(self, name: str, argv: Sequence[str], owner: Owner) -> int:
        """Run argv in the jail's `/` as owner, its streams passed through ours, to its end.

        Signals held for it are passed on (`hazmat/attach.py`); it dies with us. Returns its exit
        status, 128 + n for a signal n. Raises as run.
        """
        ...
