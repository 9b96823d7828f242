"""Suspend, revoke, offboard, resume: a secret stops being in the jail, and that is proven."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace

from vault_svc.domain.audit import Entry, Event, Head
from vault_svc.domain.delivered import MOUNT_POINT, in_memory, is_set
from vault_svc.domain.receipt import Receipt, Removal
from vault_svc.domain.secret import CollectionRef
from vault_svc.domain.tenant import Action, Status, Tenant, next_status
from vault_svc.errors import ColibriError
from vault_svc.ports.delivery import JailRoot
from vault_svc.services import outdated, standing
from vault_svc.services.context import Context
from vault_svc.services.lease_ending import LeaseEnder

_DONE = {
    Action.SUSPEND: Event.SUSPENDED,
    Action.REVOKE: Event.REVOKED,
    Action.OFFBOARD: Event.OFFBOARDED,
}
# What the log has to end with for an action that is done already; revoked is suspended too.
_SAID = {action: {event} for action, event in _DONE.items()} | {
    Action.SUSPEND: {Event.SUSPENDED, Event.REVOKED}
}


@dataclass(frozen=True, slots=True)
class Removed:
    """What a removal found: kind stood at the path, ended is what the source ended."""

    tenant: Tenant
    path: str
    kind: str
    ended: tuple[str, ...]
    changed: bool


@dataclass(slots=True)
class Remover:
    """Takes delivered files out of jails; works although the audit log cannot (decision 14)."""

    context: Context

    def remove(self, tenant_id: str, action: Action) -> Removed:
        """Remove the file, end access at the source (revoke, offboard), store the status.

        Idempotent. Raises `audit_unwritable` or `audit_broken` only after the file is gone. What
        can't be removed now is at least not delivered again: the tenant is suspended.
        """
        with self.context.locks.hold(tenant_id):
            row = self.context.registry.tenant(tenant_id)
            after = next_status(row, action)
            newest = self.context.registry.newest([tenant_id]).get(tenant_id)
            path = newest.path if isinstance(newest, Receipt) else row.env_path
            # Neither a crash before the last line nor a mere suspension is a revocation done.
            done = self._done(row, after, newest, path) and not self._ender.left(tenant_id)
            if done and self.context.last_said(tenant_id) in _SAID[action]:
                return Removed(row, path, "missing", (), changed=False)
            return self._remove(row, action, after, path)

    def resume(self, tenant_id: str) -> Tenant:
        """Let a suspended tenant be provisioned again; deliver nothing."""
        with self.context.locks.hold(tenant_id):
            row = self.context.registry.tenant(tenant_id)
            after = next_status(row, Action.RESUME)
            if after is row.status:
                if self.context.last_said(tenant_id) in _SAID[Action.SUSPEND]:
                    self.context.record(Event.RESUMED, tenant_id)  # a crash kept it from the log
                return row
            self.context.audit.ready()
            outdated.closed(self.context)
            resumed = replace(row, status=after, updated_at=self.context.clock.now())
            self.context.registry.update(resumed, expected=row)
            self.context.record(Event.RESUMED, tenant_id)
            return resumed

    def take_out(self, row: Tenant, path: str, *, reason: str = "moved") -> str:
        """Remove one delivered file with its audit lines; the caller holds the tenant's lock."""
        trail = _Trail(self.context)
        trail.write(Event.WILL_REMOVE, row.tenant_id, path=path, reason=reason)
        kind = self._unlink(row, path, trail)
        status = Status.REGISTERED if row.status is Status.ACTIVE else row.status
        open_row = replace(row, status=status, updated_at=self.context.clock.now())
        self.context.registry.close(open_row, removal=self._record(row, path, kind), head=None)
        trail.write(Event.REMOVED, row.tenant_id, path=path, kind=kind)
        trail.finish()
        return kind

    def _done(
        self, row: Tenant, after: Status, newest: Receipt | Removal | None, path: str
    ) -> bool:
        if row.status is not after or isinstance(newest, Receipt):
            return False
        if self.context.registry.open_intents([row.tenant_id]):
            return False
        try:
            root = self._root(row)
            keys = self._keys(row, newest)
            return root is None or self._standing(row, root, path, keys) == "missing"
        except ColibriError:
            return False

    def _root(self, row: Tenant) -> JailRoot | None:
        """Return the tree to clear; None where neither the engine nor the host has one.

        An engine that does not know the jail is no proof: its settings may be other ones. What
        was registered is looked at, and cleared if it stands. A closed row has no tree: its file
        went before it was closed, and the jail may be another tenant's by now.
        """
        if row.status is Status.OFFBOARDED:
            return None
        if in_memory(row.delivery):  # whatever the jail is like, or has mounted on it
            return self._if_there(JailRoot(self.context.memory_of(row), mount=MOUNT_POINT))
        try:
            return self.context.agreed_root(row)
        except ColibriError as error:
            if error.code == "jail_not_running":
                raise _unreached(error, row) from None
            if error.code != "jail_not_found":
                raise
        if not row.jail_root:  # decision 7: nothing was delivered there yet
            return None
        root = self._if_there(JailRoot(row.jail_root, row.root_ino))
        if root is None or self.context.engine(row.engine).capabilities.stable_roots:
            return root
        raise ColibriError(
            "jail_not_running",
            f"engine '{row.engine}' does not know jail '{row.jail}', but its tree"
            f" '{row.jail_root}' is there",
            hint="look at the engine's settings; remove the tree, then run it again",
            tenant=row.tenant_id,
        )

    def _if_there(self, root: JailRoot) -> JailRoot | None:
        try:
            self.context.delivery.prove_root(root)
        except ColibriError as error:
            if error.code != "path_missing":
                raise
            return None
        return root

    def _standing(self, row: Tenant, root: JailRoot, path: str, keys: Collection[str]) -> str:
        found = standing.look(self.context.delivery, row, root, path, keys, max_bytes=0)
        return "missing" if found.is_gone else found.kind

    def _keys(self, row: Tenant, newest: Receipt | Removal | None) -> frozenset[str]:
        if not is_set(row.delivery):
            return frozenset()
        return standing.known_keys(self.context, row.tenant_id, newest)

    def _remove(self, row: Tenant, action: Action, after: Status, path: str) -> Removed:
        trail = _Trail(self.context)
        trail.write(Event.WILL_REMOVE, row.tenant_id, path=path, reason=str(action))
        try:
            kind = self._unlink(row, path, trail)
        except ColibriError:
            self._stop_deliveries(row)
            with suppress(ColibriError):  # the value that stays there should be good for nothing
                self._ender.everything(row.tenant_id)
            raise
        closed = replace(row, status=after, last_error=None, updated_at=self.context.clock.now())
        removal = self._record(row, path, kind)
        self.context.registry.close(closed, removal=removal, head=trail.head)
        trail.write(Event.REMOVED, row.tenant_id, path=path, kind=kind)
        # Last: while the source is away, the row keeps the file from coming back.
        ended = self._end_leases(row, action) + self._end_access(row, action)
        if action is Action.OFFBOARD:
            self.context.drop_memory(row)
        trail.write(_DONE[action], row.tenant_id, path=path, absent=True, ended=list(ended))
        trail.finish()
        return Removed(closed, path, kind, ended, changed=True)

    def _unlink(self, row: Tenant, path: str, trail: _Trail) -> str:
        try:
            root = self._root(row)
            if root is None:  # no jail, no file
                self._refuse_other_memory(row)
                return "missing"
            newest = self.context.registry.newest([row.tenant_id]).get(row.tenant_id)
            keys = self._keys(row, newest)
            kind = standing.take(self.context.delivery, row, root, path, keys)
            left = self._standing(row, root, path, keys)
            self._refuse_other_memory(row)
        except ColibriError as error:
            trail.write(Event.REMOVAL_FAILED, row.tenant_id, path=path, code=error.code)
            raise error.for_tenant(row.tenant_id) from None
        if left != "missing":
            trail.write(Event.REMOVAL_FAILED, row.tenant_id, path=path, code="tampered")
            raise ColibriError(
                "tampered",
                f"a {left} came back at '{path}' in jail '{row.jail}' after the removal",
                hint="stop the jail and run it again",
                tenant=row.tenant_id,
            )
        return kind

    def _refuse_other_memory(self, row: Tenant) -> None:
        """Refuse success while a jail runs with other memory than the host's: it may read on."""
        if not in_memory(row.delivery) or row.status is Status.OFFBOARDED:
            return
        try:
            root = self.context.agreed_root(row)
        except ColibriError as error:
            if error.code not in {"jail_not_running", "jail_not_found"}:
                raise  # whether it runs is not known
            return
        if root.pid is None:
            return
        try:
            self.context.delivery.prove_root(root)
        except ColibriError as error:
            if error.code not in {"shadowed", "path_missing"}:
                raise
            raise ColibriError(
                "shadowed",
                f"the running jail '{row.jail}' has not the host's memory at {MOUNT_POINT}:"
                " what was delivered may still be read there",
                hint="stop the jail, then run it again",
                tenant=row.tenant_id,
            ) from None

    def _stop_deliveries(self, row: Tenant) -> None:
        """Suspend a tenant whose file could not be removed: it gets no new one meanwhile.

        Its records and intents stay, so that the next removal looks again.
        """
        if row.status is Status.OFFBOARDED:
            return
        stopped = replace(row, status=Status.SUSPENDED, updated_at=self.context.clock.now())
        with suppress(ColibriError):  # what kept the file there is what has to be said
            self.context.registry.update(stopped, expected=row)

    def _end_leases(self, row: Tenant, action: Action) -> tuple[str, ...]:
        end = self._ender.close if action is Action.OFFBOARD else self._ender.everything
        try:
            return end(row.tenant_id)
        except ColibriError as error:
            raise ColibriError(
                error.code,
                f"the file is gone, but not every lease of it has ended: {error.message}",
                hint="run it again, or colibri renew, which goes on with it",
                tenant=row.tenant_id,
            ) from None

    @property
    def _ender(self) -> LeaseEnder:
        return LeaseEnder(self.context)

    def _end_access(self, row: Tenant, action: Action) -> tuple[str, ...]:
        if row.collection_id is None or action is Action.SUSPEND:
            return ()
        ref = CollectionRef(row.collection_id, row.collection)
        source = self.context.source(row.source)
        return source.end_access(ref, for_good=action is Action.OFFBOARD)

    def _record(self, row: Tenant, path: str, kind: str) -> Removal:
        now = self.context.clock.now()
        return Removal(row.tenant_id, path, row.generation, kind != "missing", now)


class _Trail:
    """Audit lines of a removal; the first failure is kept and raised when the file is gone."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._failure: ColibriError | None = None
        with suppress(ColibriError):  # a removal is done, whatever the log is like
            outdated.closed(context)
        self.head: Head | None = None

    def write(self, event: Event, tenant: str, **detail: object) -> None:
        try:
            self.head = self._context.audit.append([Entry(event, tenant, detail)])
        except ColibriError as error:
            self._failure = self._failure or error

    def finish(self) -> None:
        if self._failure:
            raise ColibriError(
                self._failure.code,
                f"the removal is done but not wholly audited: {self._failure.message}",
                hint=self._failure.hint,
            )
        if self.head:
            self._context.registry.mirror(self.head)


def _unreached(error: ColibriError, row: Tenant) -> ColibriError:
    """Name the way out too where a hook refuses to start what nothing may be delivered to."""
    hint = (
        f"{error.hint}, then run this again; while the hook refuses that for a suspended tenant:"
        " remove the jail by its engine's own command, then run this again"
    )
    return ColibriError(error.code, error.message, hint=hint, tenant=row.tenant_id)
