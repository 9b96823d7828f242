"""The engine `bastille`: FreeBSD jails by their exact names, their roots by two witnesses.

Bastille takes a beginning of a name, a tag, a number or ALL for a target, and ends with 0 when
it did nothing: a name is looked up in its directory first, and what came of a command in the
kernel (jls(8)). Read from Bastille 1.4.4 (commit 040f8061) and jls.c; nothing here has run on
FreeBSD yet, see runbooks/freebsd-acceptance.md.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from vault_svc.adapters.jails import bastille_conf, programs
from vault_svc.adapters.jails.owners import who_runs
from vault_svc.adapters.jails.programs import Program, field_of, items_of
from vault_svc.domain import names
from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError
from vault_svc.hazmat.attach import attached
from vault_svc.ports.jail_engine import Capabilities, JailInfo, Ran

KINDS: Final = {"thin": (), "thick": ("--thick",), "vnet": ("--vnet",)}
_CREATE_SECONDS: Final = 900.0
_MAX_OUTPUT_BYTES: Final = 1 << 20
# nmount(2), jail(8) and fstab(5) know paths only, and a jail without a first process of its own
# cannot be asked whether it sees the mount: "delivered" would be a guess.
_NO_TMPFS: Final = "on FreeBSD nothing tells whether a jail sees what was mounted for it"


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator sets: where jails are, and what new ones are made of."""

    jails: str = "/usr/local/bastille/jails"
    release: str = ""
    kind: str = "thin"
    address: str = "inherit"
    interface: str = ""
    timeout_seconds: float = 60.0


class BastilleEngine:
    """The jails below Bastille's directory, running or not; thin, thick or VNET."""

    name = "bastille"
    capabilities = Capabilities(
        starts=True, hook=True, pids=False, proven=False, no_tmpfs=_NO_TMPFS
    )

    def __init__(self, options: Options, *, path: str = programs.SYSTEM) -> None:
        """Take the operator's options and where programs are looked for."""
        self._options = options
        self._bastille = Program("bastille", "bastille", {}, path, options.timeout_seconds)
        self._jls = Program("jls", "FreeBSD's base system", {}, path, options.timeout_seconds)
        self._jexec = Program("jexec", "FreeBSD's base system", {}, path, options.timeout_seconds)

    def unavailable(self) -> str | None:
        """Return why jails cannot be asked for here."""
        try:
            for program in (self._bastille, self._jexec):
                program.located()
            self._running()
        except ColibriError as error:
            return error.message
        return None

    def create(self, name: str, owner: Owner) -> JailInfo:
        """Make a jail of the operator's release, stopped; raise `jail_taken`, `usage`."""
        del owner
        names.jail_name(name)
        options = self._options
        if not options.release:
            raise ColibriError(
                "usage",
                "no release is set for new Bastille jails",
                hint="set bastille_release, or make the jail with bastille create",
            )
        if options.kind == "vnet" and "-" in name:
            raise ColibriError(
                "jail_name_refused",
                f"Bastille gives no VNET to a name with a hyphen: '{name}'",
                hint="choose a name without one",
            )
        if name in self._names():
            raise ColibriError(
                "jail_taken", f"Bastille has a '{name}' already", hint="choose another name"
            )
        line = ["create", "--no-boot", *KINDS[options.kind], name, options.release, options.address]
        ran = self._bastille.tried(
            *line, *([options.interface] * bool(options.interface)), timeout_seconds=_CREATE_SECONDS
        )
        if name not in self._names():
            raise programs.failed("bastille", ran)
        bastille_conf.mark(self._options.jails, name)
        self.stop(name)
        return self._found(name)

    def destroy(self, name: str) -> None:
        """Remove a jail colibri made; raise `jail_taken`, `jail_not_found`, `engine_failed`.

        Not where another name begins with this one: if this jail went away just now, Bastille
        would take that other one in its place.
        """
        self._found(name)
        if not bastille_conf.is_marked(self._options.jails, name):
            raise ColibriError(
                "jail_taken",
                f"jail '{name}' was not made by colibri",
                hint=f"bastille destroy {name}, if it is yours to remove",
            )
        longer = [other for other in self._names() if other.startswith(name) and other != name]
        if longer:
            raise ColibriError(
                "jail_taken",
                f"Bastille might take '{longer[0]}' for '{name}', whose beginning it is",
                hint=f"look, then: bastille destroy -a -y {name}",
            )
        ran = self._bastille.tried("destroy", "-a", "-y", name)
        if name in self._names():
            raise programs.failed("bastille", ran)

    def start(self, name: str) -> None:
        """Start a jail and ask the kernel whether it runs; raise `engine_failed`."""
        if self._found(name).running:
            return
        ran = self._bastille.tried("start", name)
        if not self._found(name).running:
            raise programs.failed("bastille", ran)

    def stop(self, name: str) -> None:
        """Stop a jail and ask the kernel whether it is gone; raise `engine_failed`."""
        if not self._found(name).running:
            return
        ran = self._bastille.tried("stop", name)
        if self._found(name).running:
            raise programs.failed("bastille", ran)

    def list(self) -> list[JailInfo]:
        """Return the jails of Bastille's directory whose name is one, sorted."""
        if os.geteuid() != 0 or not self._bastille.installed:
            return []
        running = self._running()
        return [
            JailInfo(
                name, bastille_conf.root(self._options.jails, name), self.name, name in running
            )
            for name in self._names()
        ]

    def root_of(self, name: str) -> str:
        """Return the root that jail.conf and, for a running jail, the kernel name.

        Raises `jail_root_mismatch` where they differ.
        """
        self._exact(name)
        configured = bastille_conf.root(self._options.jails, name)
        real = self._running().get(name, configured)
        if real != configured:
            raise ColibriError(
                "jail_root_mismatch",
                f"jail '{name}' runs in '{real}', its jail.conf says '{configured}'",
                hint="restart the jail, then look at both again",
            )
        return configured

    def pid_of(self, name: str) -> int | None:
        """Return None: a FreeBSD jail is no process's descendants, it has a number of its own."""
        self._exact(name)
        return None

    def run(
        self, name: str, argv: Sequence[str], owner: Owner, *, timeout_seconds: float = 30.0
    ) -> Ran:
        """Run argv as owner by jexec(8) and the jail's own chroot(8), in a clean environment."""
        ran = self._jexec.tried(
            *self._entrance(name, owner),
            *argv,
            timeout_seconds=timeout_seconds,
            max_output_bytes=_MAX_OUTPUT_BYTES,
        )
        return Ran(ran.status, ran.stdout, ran.stderr)

    def attach(self, name: str, argv: Sequence[str], owner: Owner) -> int:
        """Run argv as owner, streams and signals passed through jexec, which becomes it."""
        line = [self._jexec.located(), *self._entrance(name, owner), *argv]
        return attached(line, env=self._jexec.environment)

    def _entrance(self, name: str, owner: Owner) -> Sequence[str]:
        """Return jexec's arguments up to the program; raise `jail_not_running`."""
        user = who_runs(owner) or owner
        if not self._found(name).running:
            raise ColibriError(
                "jail_not_running", f"jail '{name}' does not run", hint=f"colibri jail start {name}"
            )
        become = ["/usr/sbin/chroot", "-u", str(user.uid), "-g", str(user.gid), "/"]
        return ["-l", name, *become]

    def _found(self, name: str) -> JailInfo:
        self._exact(name)
        root = bastille_conf.root(self._options.jails, name)
        return JailInfo(name, root, self.name, name in self._running())

    def _exact(self, name: str) -> None:
        names.jail_name(name)
        if name not in self._names():
            raise ColibriError("jail_not_found", f"Bastille has no jail '{name}'")

    def _names(self) -> tuple[str, ...]:
        return bastille_conf.jails(self._options.jails)

    def _running(self) -> dict[str, str]:
        """Return the kernel's jails: path by name. Dying ones are not among them."""
        whole: Any = self._jls.document("--libxo=json", "jid", "name", "path")
        listed = items_of(field_of(whole, "jls", "jail-information", "jail"), "jls")
        return {
            str(field_of(each, "jls", "name")): str(field_of(each, "jls", "path"))
            for each in listed
        }
