"""The engine `nspawn`: machines of systemd-nspawn(1), as systemd-machined knows them.

A machine's tree is an image of machined's, at one path for its whole life; its first process,
and whether it runs, machined says (machinectl(1)).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vault_svc.adapters.jails import nspawn_trees, programs
from vault_svc.adapters.jails.nspawn_trees import MachineTrees
from vault_svc.adapters.jails.owners import who_runs
from vault_svc.adapters.jails.programs import Program, items_of
from vault_svc.domain import names
from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError
from vault_svc.hazmat.entering import entered
from vault_svc.ports.jail_engine import Capabilities, JailInfo, Ran

_PLAIN: Final = frozenset({"directory", "subvolume"})
_UNIT: Final = "systemd-nspawn@{}.service"


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator sets: the tree that new jails are copies of."""

    template: str = ""
    timeout_seconds: float = 60.0
    machines: str = "/var/lib/machines"
    settings: str = "/etc/systemd/nspawn"


class NspawnEngine:
    """Machines of `/var/lib/machines`, made by machinectl, debootstrap or colibri."""

    name = "nspawn"
    capabilities = Capabilities(starts=True, user_namespace=True, hook=True, tmpfs=True)

    def __init__(
        self,
        options: Options,
        *,
        path: str = programs.SYSTEM,
        memory: Callable[[str], str] = lambda _: "",
    ) -> None:
        """Take the operator's options and where programs are looked for.

        memory: the host path of a machine's memory file system, "" for one without.
        """
        self._path = path
        self._machinectl = self._program("machinectl", "systemd-container", options)
        self._systemctl = self._program("systemctl", "systemd", options)
        copy = self._program("cp", "coreutils", options)
        self._trees = MachineTrees(
            options.machines, options.settings, options.template, copy, memory
        )

    def _program(self, name: str, package: str, options: Options) -> Program:
        return Program(name, package, {}, self._path, options.timeout_seconds)

    def unavailable(self) -> str | None:
        """Return why machined does not answer here; it needs systemd as the first process."""
        if os.geteuid() != 0:
            return "only root may ask systemd-machined for machines of this host"
        try:
            self._document("list")
        except ColibriError as error:
            return error.message
        return None

    def create(self, name: str, owner: Owner) -> JailInfo:
        """Copy the operator's template; it says what owner may use. Raises `jail_taken`."""
        del owner
        names.jail_name(name)
        if any(info.name == name for info in self.list()):
            raise nspawn_trees.taken(name)
        return JailInfo(name, self._trees.make(name), self.name, running=False)

    def destroy(self, name: str) -> None:
        """Stop and delete a machine colibri made; raise `jail_taken`, `jail_not_found`."""
        self._found(name)
        self._trees.refuse_foreign(name)
        self.stop(name)
        self._trees.delete(name)

    def start(self, name: str) -> None:
        """Start a machine by its unit; raise `jail_not_found`, `engine_failed`."""
        if not self._found(name).running:
            self._machinectl.said("start", name)

    def stop(self, name: str) -> None:
        """Stop a machine's unit and wait for its end; raise `jail_not_found`."""
        if self._found(name).running:
            self._systemctl.said("stop", _UNIT.format(name))

    def list(self) -> list[JailInfo]:
        """Return the images that are plain trees and jail names, sorted."""
        if os.geteuid() != 0 or not self._machinectl.installed:
            return []
        try:
            running = self._running()
        except ColibriError:
            if self.unavailable():
                return []
            raise
        images = [
            each["name"]
            for each in items_of(self._document("list-images"), "machinectl")
            if each.get("type") in _PLAIN and names.is_jail_name(each.get("name"))
        ]
        return [
            JailInfo(name, path, self.name, name in running)
            for name, path in sorted(self._paths(images).items())
        ]

    def root_of(self, name: str) -> str:
        """Return the image's path; raise `jail_root_mismatch` if the machine runs elsewhere."""
        info = self._found(name)
        shown = self._shown(name).get("RootDirectory", info.root) if info.running else info.root
        if shown != info.root:
            raise ColibriError(
                "jail_root_mismatch",
                f"machine '{name}' runs in '{shown}', its image is '{info.root}'",
                hint="stop the one that is not meant",
            )
        return info.root

    def pid_of(self, name: str) -> int | None:
        """Return the host's number of the machine's first process (its leader)."""
        if not self._found(name).running:
            return None
        leader = self._shown(name).get("Leader", "")
        return int(leader) if leader.isascii() and leader.isdigit() and int(leader) > 1 else None

    def run(
        self, name: str, argv: Sequence[str], owner: Owner, *, timeout_seconds: float = 30.0
    ) -> Ran:
        """Run argv as owner in the machine's namespaces, without privileges to gain.

        Raises `engine_failed` for a machine without a user namespace: who enters one can be
        held and used by its root (as in runc CVE-2019-5736).
        """
        user = who_runs(owner) or owner
        pid = self.pid_of(name)
        if pid is None:
            raise ColibriError(
                "jail_not_running",
                f"machine '{name}' does not run",
                hint=f"colibri jail start {name}",
            )
        nsenter = self._found_program("nsenter", "util-linux")
        setpriv = self._found_program("setpriv", "util-linux")
        ran = entered(
            pid,
            argv,
            user,
            programs=(setpriv, nsenter),
            still=lambda: self.pid_of(name) == pid,
            timeout_seconds=timeout_seconds,
        )
        return Ran(ran.status, ran.stdout, ran.stderr)

    def attach(self, name: str, argv: Sequence[str], owner: Owner) -> int:
        """Refuse: a machine has an init of its own, which keeps its services in order."""
        del argv, owner
        self._found(name)
        raise ColibriError(
            "usage",
            f"agents of the machine '{name}' are its own services",
            hint="start them by a unit inside; the hook delivers before the machine starts",
        )

    def _found_program(self, name: str, package: str) -> str:
        return Program(name, package, {}, self._path).located()

    def _found(self, name: str) -> JailInfo:
        names.jail_name(name)
        for info in self.list():
            if info.name == name:
                return info
        raise ColibriError("jail_not_found", f"machined has no machine '{name}'")

    def _paths(self, images: Sequence[str]) -> dict[str, str]:
        """Return where the images are; they are shown as blocks of NAME=VALUE lines."""
        if not images:
            return {}
        said = self._machinectl.said("show-image", *images, "--property=Name", "--property=Path")
        blocks = [_properties(block) for block in said.decode(errors="replace").split("\n\n")]
        return {
            block["Name"]: block["Path"] for block in blocks if block.keys() >= {"Name", "Path"}
        }

    def _running(self) -> set[str]:
        whole = items_of(self._document("list"), "machinectl")
        return {each["machine"] for each in whole if each.get("class") == "container"}

    def _shown(self, name: str) -> dict[str, str]:
        return _properties(self._machinectl.said("show", name).decode(errors="replace"))

    def _document(self, what: str) -> Any:
        return self._machinectl.document(what, "--output=json", "--no-pager")


def _properties(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
