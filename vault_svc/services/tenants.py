"""Registered tenants: what an operator changes of a row is proven before it is written."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vault_svc.domain import delivered, names
from vault_svc.domain.audit import Event
from vault_svc.domain.receipt import Owner, Receipt
from vault_svc.domain.tenant import Action, Status, Tenant, next_status
from vault_svc.errors import ColibriError
from vault_svc.ports.delivery import JailRoot
from vault_svc.ports.spawning import SpawnRecords
from vault_svc.services.claims import Claims, facts, not_there_yet, refuse_both, way_of_delivery
from vault_svc.services.context import Context
from vault_svc.services.jails import refuse_in_use
from vault_svc.services.removal import Remover


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
    """Changes rows that are there; spawns: which jails go with an agent that is in them."""

    context: Context
    spawns: SpawnRecords

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
            self.context.record(Event.TENANT_UPDATED, tenant_id, **facts(changed))
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

    @property
    def _claims(self) -> Claims:
        return Claims(self.context)

    def _changed(self, row: Tenant, changes: Changes) -> Tenant:
        changed = row
        if changes.owner:
            owner = self._claims.owner(changes.owner, row.engine)
            changed = replace(changed, owner_uid=owner.uid, owner_gid=owner.gid)
        if changes.profile:
            changed = replace(changed, profile=self._claims.profile(changes.profile))
        if changes.delivery and changes.delivery != row.delivery:
            changed = replace(changed, delivery=way_of_delivery(changes.delivery))
            self._claims.refuse_without_memory(row.engine, changed.delivery)
        if changes.env_path is not None or changed.delivery != row.delivery:
            env_path = changes.env_path
            if env_path is None:
                env_path = _other_default(row, changed.delivery)
            delivered.parts(changed.delivery, env_path)
            changed = replace(changed, env_path=env_path)
        refuse_both(changes.collection, no_collection=changes.no_collection)
        if changes.collection is not None or changes.no_collection:
            ref = self._claims.collection(
                row.source, changes.collection or "", changes.no_collection
            )
            self._claims.refuse_taken_collection(row.source, ref, but=row.tenant_id)
            collection_id = ref.collection_id or None
            changed = replace(changed, collection=ref.name, collection_id=collection_id)
        changed = self._moved(row, changed, changes)
        if changed.jail == row.jail and changes.delivery is None:
            return changed  # its memory stays where it was made
        return replace(changed, mounts=self._claims.mounts(changed.delivery, changed.jail))

    def _moved(self, row: Tenant, changed: Tenant, changes: Changes) -> Tenant:
        """Return the row with the jail that was named, proven, or with none until its next one."""
        if changes.ephemeral:
            if changes.jail is not None or changes.jail_root is not None:
                raise not_there_yet("leave --jail and --jail-root out")
            changed = replace(changed, jail_root="", root_ino=None)
        if changes.jail is not None or changes.jail_root is not None:
            jail = names.jail_name(row.jail if changes.jail is None else changes.jail)
            refuse_in_use(self.spawns, jail)
            root = self._claims.prove(row.engine, jail, changes.jail_root, row.tenant_id)
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
