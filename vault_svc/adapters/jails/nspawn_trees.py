"""Machines that colibri makes for systemd-nspawn: a copy of the template, and its settings file.

The settings file (systemd.nspawn(5)) is written first and goes last, and says whose it is: a
machine without one of ours was made by somebody else, and stays.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vault_svc.adapters.jails.programs import Program
from vault_svc.domain.delivered import MOUNT_POINT
from vault_svc.errors import ColibriError
from vault_svc.hazmat import hostfiles, trees
from vault_svc.hazmat.trees import Directory

_UNSAFE: Final = "unsafe_base"
_MARK: Final = "# Made by colibri for the jail "
_NEW: Final = ".colibri-new-"
_DEFAULTS: Final = "[Exec]\nPrivateUsers=pick\nNoNewPrivileges=yes\n"
_READABLE: Final = frozenset({0o600, 0o640, 0o644})
_MAX_SETTINGS_BYTES: Final = 65_536
_LOCK_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class MachineTrees:
    """Trees below machines, their files in settings, copied from template by cp(1).

    A file beside the template, of its name and `.nspawn`, is the settings of each copy; without
    one a machine gets a user namespace of its own and boots. memory: the host path of a machine's
    memory file system, "" for one without.
    """

    machines: str
    settings: str
    template: str
    copy: Program
    memory: Callable[[str], str] = lambda _: ""

    def make(self, name: str) -> str:
        """Copy the template and return the new tree's path; raise `usage`, `jail_taken`."""
        if not self.template:
            raise ColibriError(
                "usage",
                "no template is set for new nspawn jails",
                hint="set nspawn_template, or make the machine with machinectl or debootstrap",
            )
        self._make_parent(self.settings)
        with (
            hostfiles.directory(self.settings, _UNSAFE) as settings,
            hostfiles.directory(self.machines, _UNSAFE) as parent,
            hostfiles.locked(settings, f"'{self.settings}'", _LOCK_SECONDS),
        ):
            if self._said(settings, name) not in {None, name}:
                raise taken(name)
            self._sweep(parent)
            hostfiles.replace_at(settings, f"{name}.nspawn", self._content(name), 0o644)
            aside = f"{_NEW}{name}-{secrets.token_hex(8)}"
            trees.make_tree(parent, [Directory(aside, 0o700)])
            source = f"{self.template}/."
            self.copy.said("-a", "--reflink=auto", "--", source, f"{self.machines}/{aside}")
            if not trees.publish(parent, aside, name):
                trees.delete_tree(parent, aside, f"{self.machines}/{aside}")
                raise taken(name)
        return f"{self.machines}/{name}"

    def refuse_foreign(self, name: str) -> None:
        """Raise `jail_taken` for a machine that was not made here."""
        try:
            with hostfiles.directory(self.settings, _UNSAFE) as settings:
                ours = self._said(settings, name) == name
        except FileNotFoundError:
            ours = False
        if not ours:
            raise ColibriError(
                "jail_taken",
                f"machine '{name}' was not made by colibri",
                hint=f"machinectl remove {name}, if it is yours to remove",
            )

    def delete(self, name: str) -> None:
        """Delete a stopped machine's tree by descriptors, then its settings file."""
        with hostfiles.directory(self.machines, _UNSAFE) as parent:
            trees.delete_tree(parent, name, f"{self.machines}/{name}")
        with hostfiles.directory(self.settings, _UNSAFE) as settings:
            hostfiles.remove_at(settings, f"{name}.nspawn")

    def _sweep(self, parent: int) -> None:
        for left in trees.entries(parent):
            if left.startswith(_NEW):
                trees.delete_tree(parent, left, f"{self.machines}/{left}")

    def _make_parent(self, path: str) -> None:
        if not Path(path).exists():
            hostfiles.make_directory(path, _UNSAFE, 0o755)

    def _content(self, name: str) -> bytes:
        beside = Path(f"{self.template}.nspawn")
        wanted = beside.read_text("utf-8") if beside.is_file() else _DEFAULTS
        memory = self.memory(name)
        shown = f"\n[Files]\nBind={memory}:{MOUNT_POINT}:idmap\n" if memory else ""
        return f"{_MARK}{name}.\n{wanted}{shown}".encode()

    def _said(self, settings: int, name: str) -> str | None:
        """Return whose settings file stands there: a jail's name, "" for others', None for none."""
        try:
            found = hostfiles.read_at(
                settings,
                f"{name}.nspawn",
                "jail_taken",
                max_bytes=_MAX_SETTINGS_BYTES,
                modes=_READABLE,
            )
        except FileNotFoundError:
            return None
        first = found.decode(errors="replace").partition("\n")[0]
        return first.removeprefix(_MARK).removesuffix(".") if first.startswith(_MARK) else ""


def taken(name: str) -> ColibriError:
    """Return the refusal of a name that systemd has already."""
    return ColibriError(
        "jail_taken", f"systemd has a machine or settings of '{name}'", hint="choose another name"
    )
