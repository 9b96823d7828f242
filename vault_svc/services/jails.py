"""Jails by their engines: create, list, destroy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass

from vault_svc.domain import names
from vault_svc.domain.audit import Event
from vault_svc.domain.delivered import memory_of
from vault_svc.domain.receipt import Owner, Receipt
from vault_svc.domain.tenant import Status, Tenant
from vault_svc.errors import ColibriError
from vault_svc.ports.delivery import JailRoot
from vault_svc.ports.jail_engine import JailEngine, JailInfo, PartListError, Ran
from vault_svc.ports.spawning import SpawnRecords
from vault_svc.services.context import Context


@dataclass(frozen=True, slots=True)
class Listing:
    """Jails by name, and by engine why others of its jails are not among them."""

    jails: Sequence[JailInfo]
    failed: Mapping[str, ColibriError]


@dataclass(frozen=True, slots=True)
class Jails:
    """Engine use cases; engines lists every engine there is."""

    context: Context
    engines: Callable[[], Sequence[JailEngine]]
    spawns: SpawnRecords

    def create(self, name: str, engine: str, owner: Owner) -> JailInfo:
        """Make a jail and audit it."""
        self.context.audit.ready()
        made = self.context.engine(engine).create(names.jail_name(name), owner)
        self.context.record(Event.JAIL_CREATED, jail=name, engine=engine, root=made.root)
        return made

    def list(self) -> Listing:
        """Return the jails of every engine that answers, and which does not."""
        return _asked(self.engines())

    def holders(self) -> dict[tuple[str, str], str]:
        """Return this host's tenants that are not offboarded, by engine and jail."""
        rows = self.context.registry.tenants(host=self.context.settings.host)
        return {
            (row.engine, row.jail): row.tenant_id
            for row in rows
            if row.status is not Status.OFFBOARDED
        }

    def start(self, name: str, engine: str | None = None) -> JailInfo:
        """Let a jail run and audit it; raise `jail_not_found`."""
        info = self.found(name, engine)
        self.context.audit.ready()
        self.context.engine(info.engine).start(name)
        self.context.record(Event.JAIL_STARTED, jail=name, engine=info.engine)
        return self.found(name, info.engine)

    def stop(self, name: str, engine: str | None = None) -> JailInfo:
        """End a jail's processes and audit it; raise `jail_not_found`."""
        info = self.found(name, engine)
        self.context.engine(info.engine).stop(name)
        self.context.record(Event.JAIL_STOPPED, jail=name, engine=info.engine)
        return self.found(name, info.engine)

    def found(self, name: str, engine: str | None = None) -> JailInfo:
        """Return the one jail of this exact name; raise `jail_not_found`, or `usage` for two.

        An engine that does not answer may have one too: unless it is named which is meant, its own
        failure is raised.
        """
        names.jail_name(name)
        listing = _asked([self.context.engine(engine)] if engine else self.engines())
        same = [info for info in listing.jails if info.name == name]
        for silent, error in listing.failed.items():
            if not same:
                raise error
            if silent not in {info.engine for info in same}:
                raise ColibriError(
                    error.code,
                    f"engine '{silent}' did not say whether it has a jail '{name}' too:"
                    f" {error.message}",
                    hint=f"name the engine: --engine {same[0].engine}",
                )
        if not same:
            raise ColibriError(
                "jail_not_found", f"there is no jail '{name}'", hint="colibri jail list"
            )
        if len(same) > 1:
            several = " and ".join(sorted(info.engine for info in same))
            raise ColibriError(
                "usage", f"engines {several} have a jail '{name}' each", hint="name one: --engine"
            )
        return same[0]

    def destroy(self, name: str, engine: str | None = None) -> JailInfo:
        """Remove a jail nobody is registered for; raise `jail_taken` or `jail_not_found`."""
        names.jail_name(name)
        holder = self.context.registry.by_jail(self.context.settings.host, name)
        held = self.context.locks.hold(holder.tenant_id) if holder else nullcontext()
        refuse_in_use(self.spawns, name)
        with held:  # nobody delivers to it between the look and the end
            holder = self.context.registry.by_jail(self.context.settings.host, name)
            if holder and not self._holds_nothing(holder):
                raise ColibriError(
                    "jail_taken",
                    f"jail '{name}' belongs to tenant '{holder.tenant_id}'",
                    hint=f"colibri offboard {holder.tenant_id}, then destroy it",
                )
            return self._destroyed(name, engine, holder)

    def _destroyed(self, name: str, engine: str | None, holder: Tenant | None) -> JailInfo:
        info = self.found(name, engine)
        self._refuse_renamed_host(info)
        with destruction(self.context, jail=name, engine=info.engine):
            self.context.engine(info.engine).destroy(name)
        memory = memory_of(holder) if holder else ""
        self.context.memory.drop(memory or self.context.memory.path(name))
        return info

    def _holds_nothing(self, holder: Tenant) -> bool:
        """Say whether a tenant's jail is ephemeral, with nothing delivered."""
        ids, registry = [holder.tenant_id], self.context.registry
        delivered = isinstance(registry.newest(ids).get(holder.tenant_id), Receipt)
        stable = self.context.engine(holder.engine).capabilities.stable_roots
        open_root = stable and not holder.jail_root
        return open_root and not delivered and not registry.open_intents(ids)

    def _refuse_renamed_host(self, info: JailInfo) -> None:
        try:
            ino = self.context.delivery.prove_root(JailRoot(info.root))
        except ColibriError:
            return  # no root that could be registered anywhere
        self.context.refuse_other_hosts_jail(JailRoot(info.root, ino))

    def run(self, name: str, engine: str | None, argv: Sequence[str], owner: Owner | None) -> Ran:
        """Run a command in a jail, as its tenant's owner where none is named."""
        info = self.found(name, engine)
        return self.context.engine(info.engine).run(name, argv, owner or self._owner(name))

    def _owner(self, name: str) -> Owner:
        settings = self.context.settings
        holder = self.context.registry.by_jail(settings.host, name)
        if holder:
            return Owner(holder.owner_uid, holder.owner_gid)
        return Owner(settings.default_owner_uid, settings.default_owner_gid)


def _asked(engines: Sequence[JailEngine]) -> Listing:
    """Ask every engine; what one does not answer hides no other's answer."""
    found: list[JailInfo] = []
    failed: dict[str, ColibriError] = {}
    for engine in engines:
        try:
            found += engine.list()
        except ColibriError as error:
            failed[engine.name] = error
            found += error.found if isinstance(error, PartListError) else ()
    return Listing(sorted(found, key=lambda info: (info.name, info.engine)), failed)


@contextmanager
def destruction(context: Context, tenant_id: str = "", **facts: str) -> Iterator[None]:
    """Audit a jail's end in the block: before it, and after it that it came or why it did not."""
    context.record(Event.WILL_DESTROY_JAIL, tenant_id, **facts)
    try:
        yield
    except ColibriError as error:
        with suppress(ColibriError):  # why it stays is what the caller needs to hear
            context.record(Event.JAIL_NOT_DESTROYED, tenant_id, code=error.code, **facts)
        raise
    context.record(Event.JAIL_DESTROYED, tenant_id, **facts)


def refuse_in_use(records: SpawnRecords, jail: str) -> None:
    """Raise `jail_taken` for a jail that an agent was started in, and that is to go with it."""
    if records.names(jail):
        raise ColibriError(
            "jail_taken",
            f"an agent of colibri's is in jail '{jail}', or was when its colibri was killed",
            hint="let it end; what a killed colibri left, the next spawn-agent clears away",
        )
