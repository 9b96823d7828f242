"""Put the files in place by which engines call the hook, take them away, show them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vault_svc.domain.audit import Event
from vault_svc.domain.hookfiles import HookFile, is_ours
from vault_svc.errors import ColibriError
from vault_svc.ports.host_files import HostFiles
from vault_svc.services.context import Context


class State(StrEnum):
    """How a hook's file stands."""

    INSTALLED = "installed"
    ABSENT = "absent"
    OTHER = "other"  # ours, but for another program, other settings or an older version
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Installed:
    """A hook's file before and after, and whether anything was changed."""

    file: HookFile
    before: State
    after: State
    changed: bool


@dataclass(frozen=True, slots=True)
class HookInstaller:
    """Idempotent; touches no file that colibri did not write."""

    context: Context
    files: HostFiles

    def show(self, wanted: HookFile) -> Installed:
        """Look only."""
        state = self._state(wanted)
        return Installed(wanted, state, state, changed=False)

    def install(self, wanted: HookFile, *, dry_run: bool = False) -> Installed:
        """Write the file unless it stands there so."""
        before = self._mine(wanted)
        if before is State.INSTALLED:
            return Installed(wanted, before, before, changed=False)
        if not dry_run:
            self.context.record(Event.HOOK_INSTALLED, path=wanted.path)
            self.files.write(wanted.path, wanted.content.encode())
        return Installed(wanted, before, State.INSTALLED, changed=not dry_run)

    def uninstall(self, wanted: HookFile, *, dry_run: bool = False) -> Installed:
        """Remove the file if it is ours, whichever colibri it calls."""
        before = self._mine(wanted)
        if before is State.ABSENT:
            return Installed(wanted, before, before, changed=False)
        if not dry_run:
            self.context.record(Event.HOOK_UNINSTALLED, path=wanted.path)
            self.files.remove(wanted.path)
        return Installed(wanted, before, State.ABSENT, changed=not dry_run)

    def _mine(self, wanted: HookFile) -> State:
        state = self._state(wanted)
        if state is State.FOREIGN:
            raise ColibriError(
                "usage",
                f"'{wanted.path}' is a file that colibri did not write",
                hint="move it away, or name another directory with --directory",
            )
        return state

    def _state(self, wanted: HookFile) -> State:
        found = self.files.read(wanted.path)
        if found is None:
            return State.ABSENT
        if found == wanted.content.encode():
            return State.INSTALLED
        return State.OTHER if is_ours(found.decode(errors="replace")) else State.FOREIGN
