"""Jails by their engines: create, list, destroy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vault_svc.domain import names
from vault_svc.domain.audit import Event
from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError
from vault_svc.ports.delivery import JailRoot
from vault_svc.ports.jail_engine import JailEngine, JailInfo, Ran
from vault_svc.services.context import Context


@dataclass(frozen=True, slots=True)
class Jails:
    """Engine use cases; engines lists every engine there is."""

    context: Context
    engines: Callable[[], Sequence[JailEngine]]

    def create(self, name: str, engine: str, owner: Owner) -> JailInfo:
        """Make a jail and audit it."""
        made = self.context.engine(engine).create(names.jail_name(name), owner)
        self.context.record(Event.JAIL_CREATED, jail=name, engine=engine, root=made.root)
        return made

    def list(self) -> list[JailInfo]:
        """Return the jails of every engine, by name."""
        found = [info for engine in self.engines() for info in engine.list()]
        return sorted(found, key=lambda info: (info.name, info.engine))

    def destroy(self, name: str) -> JailInfo:
        """Remove a jail nobody is registered for; raise `jail_taken` or `jail_not_found`."""
        names.jail_name(name)
        holder = self.context.registry.by_jail(self.context.settings.host, name)
        if holder:
            raise ColibriError(
                "jail_taken",
                f"jail '{name}' belongs to tenant '{holder.tenant_id}'",
                hint=f"colibri offboard {holder.tenant_id}, then destroy it",
            )
        info = next((info for info in self.list() if info.name == name), None)
        if info is None:
            raise ColibriError(
                "jail_not_found", f"there is no jail '{name}'", hint="colibri jail list"
            )
        self._refuse_renamed_host(info)
        self.context.record(Event.WILL_DESTROY_JAIL, jail=name, engine=info.engine)
        self.context.engine(info.engine).destroy(name)
        self.context.record(Event.JAIL_DESTROYED, jail=name, engine=info.engine)
        return info

    def _refuse_renamed_host(self, info: JailInfo) -> None:
        try:
            ino = self.context.delivery.prove_root(JailRoot(info.root))
        except ColibriError:
            return  # no root that could be registered anywhere
        self.context.refuse_other_hosts_jail(JailRoot(info.root, ino))

    def run(self, name: str, engine: str, argv: Sequence[str], owner: Owner) -> Ran:
        """Run a command in a jail as owner."""
        return self.context.engine(engine).run(names.jail_name(name), argv, owner)
