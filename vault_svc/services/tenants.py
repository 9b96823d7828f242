"""Tenants: register, update, list; every name, root and collection is proven before a row is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace

from vault_svc.domain import delivered, dotenv, names
from vault_svc.domain.audit import Event
from vault_svc.domain.receipt import Owner, Receipt
from vault_svc.domain.secret import CollectionRef
from vault_svc.domain.tenant import Action, Status, Tenant, next_status
from vault_svc.errors import ColibriError
from vault_svc.ports.delivery import JailRoot
from vault_svc.ports.spawning import SpawnRecords
from vault_svc.services.context import Context
from vault_svc.services.jails import refuse_in_use
from vault_svc.services.removal import Remover

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
class Changes:
    """What `update-tenant` may change; None leaves it."""

    jail: str | None = None
    jail_root: str | None = None
    collection: str | None = None
    env_path: str | None = None
    owner: Owner | None = None
    profile: str | None = None
    no_collection: bool = False
    delivery: str | None = None
    ephemeral: bool = False


@dataclass(frozen=True, slots=True)
class Tenants:
    """The registry's use cases; spawns: which jails go with an agent that is in them."""

    context: Context
    spawns: SpawnRecords

    def register(self, asked: Registration) -> Tenant:
        """Check everything, then insert the row; raise the code of the first thing wrong."""
        tenant_id = names.tenant_id(asked.tenant_id)
        _refuse_both(asked.collection, no_collection=asked.no_collection)
        if asked.tier not in TIERS:
            raise _choice("tier", asked.tier, TIERS)
        if asked.ephemeral and (asked.create_jail or asked.jail_root):
            raise _not_there_yet("leave --create-jail and --jail-root out")
        jail = names.jail_name(asked.jail or tenant_id)
        usual = delivered.DEFAULT_PATHS[_delivery(asked.delivery)]
        env_path = usual if asked.env_path is None else asked.env_path
        delivered.parts(asked.delivery, env_path)
        profile = self._profile(asked.profile or self.context.settings.default_profile)
        source = asked.source or self.context.settings.default_source
        engine = asked.engine or self.context.settings.default_engine
        owner = self._owner(asked.owner, engine)
        self._refuse_unisolated(engine, asked.tier)
        self._refuse_without_memory(engine, asked.delivery)
        collection = self._collection(source, asked.collection or tenant_id, asked.no_collection)
        self.context.audit.ready()
        self._refuse_taken(tenant_id, jail)
        self._refuse_taken_collection(source, collection)
        with (
            self._memory(asked.delivery, jail),  # before the jail is made, which is to mount it
            self._created_jail(engine, jail, owner) if asked.create_jail else nullcontext(),
        ):
            root = JailRoot("")  # an ephemeral jail's is proven at each delivery (decision 7)
            if not asked.ephemeral:
                root = self._prove(engine, jail, asked.jail_root, tenant_id)
            row = self._row(asked, jail, root, source, collection, profile, owner, engine, env_path)
            self.context.registry.add(row)
        self.context.record(Event.TENANT_REGISTERED, tenant_id, **_facts(row))
        return row

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
            mounts=self._mounts(asked.delivery, jail),
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

    def update(self, tenant_id: str, changes: Changes) -> Tenant:
        """Change a row; a delivered file whose place changes is removed first (decision 4)."""
        if changes == Changes():
            raise ColibriError(
                "usage", "nothing to change was named", hint="colibri update-tenant --help"
            )
        with self.context.locks.hold(tenant_id):
            row = self.context.registry.tenant(tenant_id)
            if row.status is Status.OFFBOARDED:
                next_status(row, Action.SUSPEND)
            changed = self._changed(row, changes)
            if changed == row:
                return row
            self.context.audit.ready()
            self.context.have_memory(changed)  # or a file would be taken out for nothing
            before, row = row, self._clear_old_place(row, changed)
            changed = replace(
                changed,
                status=row.status,
                generation=row.generation,
                updated_at=self.context.clock.now(),
            )
            self.context.registry.update(changed, expected=row)
            self.context.record(Event.TENANT_UPDATED, tenant_id, **_facts(changed))
            if self._memory_of(before) != self._memory_of(changed):
                self.context.drop_memory(before)
            return changed

    def unshown(self, row: Tenant) -> ColibriError | None:
        """Return what keeps the row's jail from seeing its memory, as its engine made it."""
        try:
            self.context.refuse_unshown(row)
        except ColibriError as error:
            return error if error.code == "shadowed" else None
        return None

    def awaits_agent(self, row: Tenant) -> bool:
        """Say whether a row's jail is not there before `spawn-agent` makes it."""
        if row.jail_root:
            return False
        try:
            self.context.engine(row.engine).root_of(row.jail)
        except ColibriError as error:
            return error.code == "jail_not_found"
        return False

    def _changed(self, row: Tenant, changes: Changes) -> Tenant:
        changed = row
        if changes.owner:
            owner = self._owner(changes.owner, row.engine)
            changed = replace(changed, owner_uid=owner.uid, owner_gid=owner.gid)
        if changes.profile:
            changed = replace(changed, profile=self._profile(changes.profile))
        if changes.delivery and changes.delivery != row.delivery:
            changed = replace(changed, delivery=_delivery(changes.delivery))
            self._refuse_without_memory(row.engine, changed.delivery)
        if changes.env_path is not None or changed.delivery != row.delivery:
            env_path = changes.env_path
            if env_path is None:
                env_path = _other_default(row, changed.delivery)
            delivered.parts(changed.delivery, env_path)
            changed = replace(changed, env_path=env_path)
        _refuse_both(changes.collection, no_collection=changes.no_collection)
        if changes.collection is not None or changes.no_collection:
            ref = self._collection(row.source, changes.collection or "", changes.no_collection)
            self._refuse_taken_collection(row.source, ref, but=row.tenant_id)
            collection_id = ref.collection_id or None
            changed = replace(changed, collection=ref.name, collection_id=collection_id)
        changed = self._moved(row, changed, changes)
        if changed.jail == row.jail and changes.delivery is None:
            return changed  # its memory stays where it was made
        return replace(changed, mounts=self._mounts(changed.delivery, changed.jail))

    def _moved(self, row: Tenant, changed: Tenant, changes: Changes) -> Tenant:
        """Return the row with the jail that was named, proven, or with none until its next one."""
        if changes.ephemeral:
            if changes.jail is not None or changes.jail_root is not None:
                raise _not_there_yet("leave --jail and --jail-root out")
            changed = replace(changed, jail_root="", root_ino=None)
        if changes.jail is not None or changes.jail_root is not None:
            jail = names.jail_name(row.jail if changes.jail is None else changes.jail)
            refuse_in_use(self.spawns, jail)
            root = self._prove(row.engine, jail, changes.jail_root, row.tenant_id)
            if not root.path and jail == row.jail:
                root = JailRoot(row.jail_root)
            changed = replace(changed, jail=jail, jail_root=root.path, root_ino=root.ino)
        return changed

    def _clear_old_place(self, row: Tenant, changed: Tenant) -> Tenant:
        moved = self._place(row) != self._place(changed)
        newest = self.context.registry.newest([row.tenant_id]).get(row.tenant_id)
        left = newest.path if isinstance(newest, Receipt) else ""
        if not left and self.context.registry.open_intents([row.tenant_id]):
            left = row.env_path  # a crash left the file there before there was a receipt
        if not moved or not left:
            return row
        anew = changed.jail == row.jail and changed.jail_root
        if anew:  # made anew or moved: its tree is where the engine has it
            row = replace(row, jail_root=changed.jail_root, root_ino=changed.root_ino)
        Remover(self.context).take_out(row, left)
        return self.context.registry.tenant(row.tenant_id)

    def _place(self, row: Tenant) -> tuple[object, ...]:
        """Return what decides where a tenant's secrets stand, and whose they are.

        A directory is its owner's, so another owner's is another one.
        """
        owner = row.owner_uid if delivered.is_set(row.delivery) else None
        tree = self._memory_of(row) or (row.jail_root, row.root_ino)
        where = (tree, row.delivery, row.env_path, owner)
        return (*where, row.collection_id)

    def _memory_of(self, row: Tenant) -> str:
        """Return the memory that a row's secrets stand in, "" for none."""
        return self.context.memory_of(row) if delivered.in_memory(row.delivery) else ""

    def _mounts(self, delivery: str, jail: str) -> tuple[str, ...]:
        """Return what a row says of a jail's memory that is made now."""
        if not delivered.in_memory(delivery):
            return ()
        return delivered.shown_at(self.context.memory.path(jail))

    def _profile(self, name: str) -> str:
        if name not in dotenv.PROFILES:
            raise _choice("profile", name, dotenv.PROFILES)
        return name

    def _owner(self, owner: Owner | None, engine: str) -> Owner:
        settings = self.context.settings
        owner = owner or Owner(settings.default_owner_uid, settings.default_owner_gid)
        ours = (owner.uid, owner.gid) == (os.geteuid(), os.getegid())
        # Where the hook alone delivers, it does so as the jail's root: every id of the jail's goes.
        if (
            not ours
            and os.geteuid() != 0
            and not self.context.engine(engine).capabilities.hook_only
        ):
            raise ColibriError(
                "owner_unmapped",
                f"an ordinary user cannot give files to {owner.uid}:{owner.gid}",
                hint=f"run colibri as root, or use --owner {os.geteuid()}:{os.getegid()}",
            )
        return owner

    def _collection(self, source: str, name: str, no_collection: bool) -> CollectionRef:
        held_by = self.context.source(source)  # a row of an unknown one could never be mended
        return CollectionRef("", "") if no_collection else held_by.locate(name)

    def _refuse_without_memory(self, engine: str, delivery: str) -> None:
        can = self.context.engine(engine).capabilities
        if delivered.in_memory(delivery) and not can.tmpfs:
            raise ColibriError(
                "usage",
                f"engine '{engine}' cannot show a jail memory of its own: {can.no_tmpfs}",
                hint="use --delivery file or files, or another engine",
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
                self.context.record(Event.TENANT_REGISTERED, tenant_id, **_facts(row))
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

    def _refuse_taken_collection(self, source: str, ref: CollectionRef, *, but: str = "") -> None:
        """Look before a jail is made, or a file taken out, for nothing.

        The registry's index is what really decides. but: the tenant that may have it.
        """
        row = self.context.registry.by_collection(source, ref.collection_id)
        if row and row.tenant_id != but:
            raise ColibriError(
                "collection_taken",
                f"collection '{ref.name}' belongs to tenant '{row.tenant_id}'",
                hint="each tenant has a collection of its own: choose one with --collection",
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

    def _prove(self, engine: str, jail: str, expected: str | None, tenant_id: str) -> JailRoot:
        """Return the proven root: the engine's answer, plain, allowed, nobody else's.

        Where roots are not stable the jail must be there, and its root stays open until it is
        delivered to (decision 7).
        """
        if not self.context.engine(engine).capabilities.stable_roots:
            self._refuse_unknown(engine, jail)
            return JailRoot("")
        root = self.context.engine(engine).root_of(jail)
        if expected is not None and expected != root:
            raise ColibriError(
                "jail_root_mismatch",
                f"engine '{engine}' says jail '{jail}' is at '{root}', not at '{expected}'",
                hint="leave --jail-root out, or name the jail that is there with --jail",
            )
        ino = self.context.delivery.prove_root(JailRoot(root))
        self.context.refuse_other_hosts_jail(JailRoot(root, ino))
        for other in self.context.registry.roots_around(self.context.settings.host, root):
            if other.tenant_id != tenant_id:
                raise ColibriError(
                    "jail_taken" if other.jail_root == root else "jail_nested",
                    f"the root '{root}' meets the jail of tenant '{other.tenant_id}'",
                    hint="give each tenant a jail of its own",
                )
        return JailRoot(root, ino)

    def _refuse_unknown(self, engine: str, jail: str) -> None:
        if not any(info.name == jail for info in self.context.engine(engine).list()):
            raise ColibriError(
                "jail_not_found",
                f"engine '{engine}' has no jail '{jail}'",
                hint="colibri jail list",
            )


def _refuse_both(collection: str | None, *, no_collection: bool) -> None:
    if collection is not None and no_collection:
        raise ColibriError(
            "usage", "--collection and --no-collection contradict each other", hint="name one"
        )


def _not_there_yet(hint: str) -> ColibriError:
    return ColibriError("usage", "an ephemeral jail is not there yet", hint=hint)


def _delivery(text: str) -> str:
    if text not in delivered.MODES:
        raise _choice("way of delivery", text, delivered.MODES)
    return text


def _other_default(row: Tenant, delivery: str) -> str:
    """Return the default place of another way of delivery for a row that has its own's."""
    if row.env_path != delivered.DEFAULT_PATHS[row.delivery]:
        what = "directory" if delivered.is_set(delivery) else "file"
        raise ColibriError(
            "usage",
            f"'{row.env_path}' was chosen for delivery '{row.delivery}', not for '{delivery}'",
            hint=f"say where the {what} shall be with --env-path",
            tenant=row.tenant_id,
        )
    return delivered.DEFAULT_PATHS[delivery]


def _choice(what: str, given: str, known: Iterable[str]) -> ColibriError:
    return ColibriError(
        "usage", f"there is no {what} '{given[:40]}'", hint="one of: " + ", ".join(known)
    )


def _facts(row: Tenant) -> dict[str, object]:
    return {
        "jail": row.jail,
        "jail_root": row.jail_root,
        "engine": row.engine,
        "source": row.source,
        "collection_id": row.collection_id,
        "delivery": row.delivery,
        "env_path": row.env_path,
        "owner": f"{row.owner_uid}:{row.owner_gid}",
        "profile": row.profile,
        "tier": row.tier,
    }
