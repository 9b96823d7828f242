"""Registration: every name, root and collection of a tenant is proven before its row is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass

from vault_svc.domain import delivered, names
from vault_svc.domain.audit import Event
from vault_svc.domain.receipt import Owner
from vault_svc.domain.secret import CollectionRef
from vault_svc.domain.tenant import Status, Tenant
from vault_svc.errors import ColibriError
from vault_svc.ports.delivery import JailRoot
from vault_svc.ports.spawning import SpawnRecords
from vault_svc.services.claims import (
    Claims,
    choice,
    facts,
    not_there_yet,
    refuse_both,
    way_of_delivery,
)
from vault_svc.services.context import Context
from vault_svc.services.jails import refuse_in_use

TIERS = ("standard", "scratch", "community")


@dataclass(frozen=True, slots=True)
class Registration:
    """What an operator says of a tenant; None means the setting's default, or the tenant's id."""

    tenant_id: str
    jail: str | None = None
    jail_root: str | None = None
    collection: str | None = None
    source: str | None = None
    env_path: str | None = None
    delivery: str = delivered.FILE
    owner: Owner | None = None
    tier: str = "standard"
    profile: str | None = None
    engine: str | None = None
    no_collection: bool = False
    create_jail: bool = False
    ephemeral: bool = False


@dataclass(frozen=True, slots=True)
class Registrar:
    """Takes tenants into the registry; spawns: which jails go with an agent that is in them."""

    context: Context
    spawns: SpawnRecords

    def register(self, asked: Registration) -> Tenant:
        """Check everything, then insert the row; raise the code of the first thing wrong."""
        tenant_id = names.tenant_id(asked.tenant_id)
        refuse_both(asked.collection, no_collection=asked.no_collection)
        if asked.tier not in TIERS:
            raise choice("tier", asked.tier, TIERS)
        if asked.ephemeral and (asked.create_jail or asked.jail_root):
            raise not_there_yet("leave --create-jail and --jail-root out")
        jail = names.jail_name(asked.jail or tenant_id)
        usual = delivered.DEFAULT_PATHS[way_of_delivery(asked.delivery)]
        env_path = usual if asked.env_path is None else asked.env_path
        delivered.parts(asked.delivery, env_path)
        profile = self._claims.profile(asked.profile or self.context.settings.default_profile)
        source = asked.source or self.context.settings.default_source
        engine = asked.engine or self.context.settings.default_engine
        owner = self._claims.owner(asked.owner, engine)
        self._refuse_unisolated(engine, asked.tier)
        self._claims.refuse_without_memory(engine, asked.delivery)
        collection = self._claims.collection(
            source, asked.collection or tenant_id, asked.no_collection
        )
        self.context.audit.ready()
        self._refuse_taken(tenant_id, jail)
        self._claims.refuse_taken_collection(source, collection)
        with (
            self._memory(asked.delivery, jail),  # before the jail is made, which is to mount it
            self._created_jail(engine, jail, owner) if asked.create_jail else nullcontext(),
        ):
            root = JailRoot("")  # an ephemeral jail's is proven at each delivery (decision 7)
            if not asked.ephemeral:
                root = self._claims.prove(engine, jail, asked.jail_root, tenant_id)
            row = self._row(asked, jail, root, source, collection, profile, owner, engine, env_path)
            self.context.registry.add(row)
        self.context.record(Event.TENANT_REGISTERED, tenant_id, **facts(row))
        return row

    @property
    def _claims(self) -> Claims:
        return Claims(self.context)

    def _row(
        self,
        asked: Registration,
        jail: str,
        root: JailRoot,
        source: str,
        collection: CollectionRef,
        profile: str,
        owner: Owner,
        engine: str,
        env_path: str,
    ) -> Tenant:
        now = self.context.clock.now()
        return Tenant(
            tenant_id=asked.tenant_id,
            host=self.context.settings.host,
            engine=engine,
            jail=jail,
            jail_root=root.path,
            source=source,
            collection=collection.name,
            collection_id=collection.collection_id or None,
            profile=profile,
            delivery=asked.delivery,
            mounts=self._claims.mounts(asked.delivery, jail),
            env_path=env_path,
            owner_uid=owner.uid,
            owner_gid=owner.gid,
            tier=asked.tier,
            status=Status.REGISTERED,
            generation=0,
            last_error=None,
            created_at=now,
            updated_at=now,
            root_ino=root.ino,
        )

    def _refuse_unisolated(self, engine: str, tier: str) -> None:
        isolates = self.context.engine(engine).capabilities.isolates
        if not isolates and os.geteuid() != 0 and tier != "scratch":
            raise ColibriError(
                "jail_root_not_allowed",
                f"engine '{engine}' isolates nothing from your own account",
                hint="use --tier scratch for a trial, or --engine bubblewrap, or run as root",
            )

    def _refuse_taken(self, tenant_id: str, jail: str) -> None:
        row = self.context.registry.rows([tenant_id]).get(tenant_id)
        if row:
            if row.status is Status.REGISTERED and not self.context.last_said(tenant_id):
                # A crash came between the row and its line.
                self.context.record(Event.TENANT_REGISTERED, tenant_id, **facts(row))
            gone = row.status is Status.OFFBOARDED
            raise ColibriError(
                "tenant_exists",
                f"tenant '{tenant_id}' was offboarded, its id is not used again"
                if gone
                else f"tenant '{tenant_id}' is registered already",
                hint="choose another id" if gone else f"colibri show-tenant {tenant_id}",
                tenant=tenant_id,
            )
        refuse_in_use(self.spawns, jail)
        holder = self.context.registry.by_jail(self.context.settings.host, jail)
        if holder:
            raise ColibriError(
                "jail_taken",
                f"jail '{jail}' belongs to tenant '{holder.tenant_id}'",
                hint="choose another jail with --jail",
            )

    @contextmanager
    def _memory(self, delivery: str, jail: str) -> Iterator[None]:
        """Have a jail's memory, if it is to have one; if the block fails, not for nothing."""
        if not delivered.in_memory(delivery):
            yield
            return
        root = self.context.memory.path(jail)
        is_new = self.context.memory.have(root)
        try:
            yield
        except ColibriError:
            with suppress(ColibriError):
                if is_new and not self.context.registry.by_jail(self.context.settings.host, jail):
                    self.context.memory.drop(root)
            raise

    @contextmanager
    def _created_jail(self, engine: str, jail: str, owner: Owner) -> Iterator[None]:
        """Make a jail, and take it away again if the block fails: running it again must work."""
        made = self.context.engine(engine).create(jail, owner)
        try:
            self.context.record(Event.JAIL_CREATED, jail=jail, engine=engine, root=made.root)
            yield
        except ColibriError:
            with suppress(ColibriError):
                # Somebody may have registered it meanwhile: then it is theirs.
                if not self.context.registry.by_jail(self.context.settings.host, jail):
                    self.context.engine(engine).destroy(jail)
                    self.context.record(Event.JAIL_DESTROYED, jail=jail, engine=engine)
            raise
