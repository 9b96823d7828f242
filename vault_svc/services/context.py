"""The ports that several use cases share, handed over as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from vault_svc.domain import delivered
from vault_svc.domain.audit import Entry, Event, Head
from vault_svc.domain.secret import CollectionRef
from vault_svc.domain.tenant import Tenant
from vault_svc.errors import ColibriError
from vault_svc.ports.audit_log import AuditLog
from vault_svc.ports.clock import Clock
from vault_svc.ports.credential_store import HostKeys
from vault_svc.ports.delivery import Delivery, JailRoot
from vault_svc.ports.jail_engine import HoldsBases, JailEngine, TellsIds, TellsMemory
from vault_svc.ports.lease_book import LeaseBook, SealedTokens
from vault_svc.ports.lease_source import LeaseSource
from vault_svc.ports.locks import TenantLocks
from vault_svc.ports.memory_roots import MemoryRoots
from vault_svc.ports.registry import Registry
from vault_svc.ports.reloader import Reloader
from vault_svc.ports.secret_source import SecretSource
from vault_svc.services import outdated
from vault_svc.settings import Settings


@dataclass(frozen=True, slots=True)
class Context:
    """Everything a use case may reach.

    `source` and `engine` raise `usage` for unknown names, `lease_source` where none is set up.
    announced: roots (and first processes) by jail that a spawner vouches for, in whose place no
    engine is asked.
    """

    settings: Settings
    registry: Registry
    audit: AuditLog
    delivery: Delivery
    locks: TenantLocks
    keys: HostKeys
    clock: Clock
    source: Callable[[str], SecretSource]
    engine: Callable[[str], JailEngine]
    leases: LeaseBook
    lease_tokens: SealedTokens
    lease_source: Callable[[], LeaseSource]
    reloader: Reloader
    memory: MemoryRoots
    announced: Mapping[str, JailRoot] = field(default_factory=dict)

    @contextmanager
    def holding(self) -> Iterator[Context]:
        """Yield a context whose delivery and engines prove the bases once, for one batch."""
        with ExitStack() as held:

            def engine(name: str) -> JailEngine:
                if name not in engines:
                    found = self.engine(name)
                    if isinstance(found, HoldsBases):
                        found = held.enter_context(found.holding())
                    engines[name] = found
                return engines[name]

            engines: dict[str, JailEngine] = {}
            delivery = held.enter_context(self.delivery.holding())
            yield replace(self, delivery=delivery, engine=engine)

    def agreed_root(self, tenant: Tenant) -> JailRoot:
        """Return what is delivered into: the root engine and row agree on, or the jail's memory.

        Raises `jail_root_mismatch`. Memory is there also while the jail does not run.
        """
        if not delivered.in_memory(tenant.delivery):
            return self._agreed(tenant)
        path = self.memory_of(tenant)
        try:
            of_tree = self._agreed(tenant)
        except ColibriError as error:
            if error.code != "jail_not_running" or self._shifts(tenant):
                raise
            of_tree = JailRoot("")
        return replace(of_tree, path=path, ino=None, mount=delivered.MOUNT_POINT)

    def shown_root(self, tenant: Tenant) -> JailRoot:
        """Return the agreed root; raise `shadowed` too where a jail at rest will not see it.

        What runs is looked into instead; a spawner that waits must not meet a call of its engine.
        """
        root = self.agreed_root(tenant)
        if root.pid is None and tenant.jail not in self.announced:
            self.refuse_unshown(tenant)
        return root

    def refuse_unshown(self, tenant: Tenant) -> None:
        """Raise `shadowed` where the engine says that a jail was made without its memory."""
        if delivered.in_memory(tenant.delivery):
            engine = self.engine(tenant.engine)
            if isinstance(engine, TellsMemory):
                engine.refuse_without_memory(tenant.jail, self.memory_of(tenant))

    def _shifts(self, tenant: Tenant) -> bool:
        """Say whether only the running jail's own map tells whose a file is there."""
        engine = self.engine(tenant.engine)
        return not isinstance(engine, TellsIds) or engine.shifts(tenant.jail)

    def memory_of(self, tenant: Tenant) -> str:
        """Return where a tenant's memory is mounted: where it was made, whatever is set by now.

        Raises `jail_root_mismatch` on another host.
        """
        self._refuse_other_host(tenant)
        return delivered.memory_of(tenant) or self.memory.path(tenant.jail)

    def have_memory(self, tenant: Tenant) -> None:
        """Mount a tenant's memory unless it is, or there is none to be."""
        if delivered.in_memory(tenant.delivery):
            self.memory.have(self.memory_of(tenant))

    def drop_memory(self, tenant: Tenant) -> None:
        """Take a tenant's memory away, unless its jail is another's by now."""
        if delivered.in_memory(tenant.delivery):
            root = self.memory_of(tenant)
            holder = self.registry.by_jail(tenant.host, tenant.jail)
            if holder is None or holder.tenant_id == tenant.tenant_id:
                self.memory.drop(root)

    def _agreed(self, tenant: Tenant) -> JailRoot:
        self._refuse_other_host(tenant)
        said = self.announced.get(tenant.jail)
        where = said or self._asked(tenant)
        can = self.engine(tenant.engine).capabilities
        if not can.stable_roots or not tenant.jail_root:  # decision 7
            return replace(where, ino=None, shifts=can.user_namespace)
        if where.path != tenant.jail_root:
            who = "the spawner" if said else f"engine '{tenant.engine}'"
            raise ColibriError(
                "jail_root_mismatch",
                f"{who} says jail '{tenant.jail}' is at '{where.path}',"
                f" the registry says '{tenant.jail_root}'",
                hint="the spawner names another place than colibri show-tenant does"
                if said
                else f"colibri update-tenant {tenant.tenant_id} --jail {tenant.jail}",
                tenant=tenant.tenant_id,
            )
        return replace(where, ino=tenant.root_ino, shifts=can.user_namespace)

    def _refuse_other_host(self, tenant: Tenant) -> None:
        if tenant.host != self.settings.host:
            raise ColibriError(
                "jail_root_mismatch",
                f"the jail of tenant '{tenant.tenant_id}' is on host '{tenant.host}',"
                f" this one is '{self.settings.host}'",
                hint="run it there; where only the host's name changed, set COLIBRI_HOST to the"
                " old one",
                tenant=tenant.tenant_id,
            )

    def _asked(self, tenant: Tenant) -> JailRoot:
        engine = self.engine(tenant.engine)
        can = engine.capabilities
        if can.hook_only:
            raise _hook_only(tenant)
        root = engine.root_of(tenant.jail)
        return JailRoot(root, pid=engine.pid_of(tenant.jail) if can.starts else None)

    def still_there(self, tenant: Tenant, root: JailRoot) -> None:
        """Ask the engine again after a write; raise `tampered` if the jail is another by now.

        A path proves nothing of the name where roots are not stable: a jail that was renamed, or
        destroyed and made anew, must not be recorded as delivered.
        """
        try:
            same = self.agreed_root(tenant) == root
        except ColibriError:
            same = False
        if not same:
            raise ColibriError(
                "tampered",
                f"jail '{tenant.jail}' was stopped, renamed or made anew while it was delivered to",
                hint="run it again",
                tenant=tenant.tenant_id,
            )

    def refuse_other_hosts_jail(self, root: JailRoot) -> None:
        """Raise `jail_taken` for a tree that is registered under another host's name.

        The same path with the same inode is this host under its old name: two tenants would
        share a jail.
        """
        for row in self.registry.by_root(root.path) if root.path else ():
            if row.root_ino == root.ino and row.host != self.settings.host:
                raise ColibriError(
                    "jail_taken",
                    f"the jail at '{root.path}' belongs to tenant '{row.tenant_id}'"
                    f" of host '{row.host}'",
                    hint="where only this host's name changed, set COLIBRI_HOST to the old one",
                )

    def record(self, event: Event, tenant: str = "", **detail: Any) -> Head:
        """Append one audit line and mirror the head."""
        outdated.closed(self)
        head = self.audit.append([Entry(event, tenant, detail)])
        self.registry.mirror(head)
        return head

    def last_said(self, tenant_id: str) -> str:
        """Return the event of a tenant's newest audit line; empty without one, or without a log.

        Only for commands that find nothing to do: rows cannot tell whether a run crashed between
        the row and the line. Reads the log backwards to that line.
        """
        try:
            lines = self.audit.tail(1, tenant=tenant_id)
        except ColibriError:
            return ""
        return str(lines[0]["event"]) if lines else ""


def _hook_only(tenant: Tenant) -> ColibriError:
    return ColibriError(
        "jail_root_not_allowed",
        f"the host does not see the root of jail '{tenant.jail}': only the hook of engine"
        f" '{tenant.engine}' delivers to it",
        hint="start the jail with the hook installed; what else is to be done is done inside,"
        " see the runbook hook-install.md",
        tenant=tenant.tenant_id,
    )


def reference(tenant: Tenant) -> CollectionRef:
    """Return the collection of a row; raise `no_collection` for a row without a bucket."""
    if tenant.collection_id is None:
        raise ColibriError(
            "no_collection",
            f"tenant '{tenant.tenant_id}' has no collection: nothing to deliver",
            hint=f"colibri update-tenant {tenant.tenant_id} --collection NAME",
            tenant=tenant.tenant_id,
        )
    return CollectionRef(tenant.collection_id, tenant.collection)


def announcements(event: Event, details: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Entry]:
    """Return one entry of event per (tenant, detail)."""
    return [Entry(event, tenant, detail) for tenant, detail in details]
