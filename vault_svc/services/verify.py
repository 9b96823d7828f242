"""Verify: does each jail still hold what the newest receipt says, without reading a source."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from vault_svc.domain.delivered import is_set
from vault_svc.domain.receipt import Found, Receipt, Removal
from vault_svc.domain.tenant import Status, Tenant
from vault_svc.errors import ColibriError
from vault_svc.services import standing
from vault_svc.services.context import Context


@dataclass(frozen=True, slots=True)
class Finding:
    """One tenant's state: `ok`, `not_delivered`, `drift` (with what differs) or `failed`."""

    tenant_id: str
    state: str
    drift: tuple[str, ...] = ()
    generation: int = 0
    error: ColibriError | None = None


@dataclass(frozen=True, slots=True)
class Verifier:
    """Compares jails with receipts."""

    context: Context

    def one(self, tenant_id: str) -> Finding:
        """Return a tenant's finding; raise what kept the jail from being looked at."""
        row = self.context.registry.tenant(tenant_id)
        newest = self.context.registry.newest([tenant_id]).get(tenant_id)
        return self._look(row, newest)

    def everyone(self) -> Iterator[Finding]:
        """Yield a finding for each tenant of this host that is not offboarded."""
        rows = self.context.registry.tenants(host=self.context.settings.host)
        rows = [row for row in rows if row.status is not Status.OFFBOARDED]
        newest = self.context.registry.newest([row.tenant_id for row in rows])
        for row in rows:
            try:
                yield self._look(row, newest.get(row.tenant_id))
            except ColibriError as error:
                named = error.for_tenant(row.tenant_id)
                yield Finding(row.tenant_id, "failed", generation=row.generation, error=named)

    def _look(self, row: Tenant, newest: Receipt | Removal | None) -> Finding:
        if row.status is Status.OFFBOARDED and self.context.registry.by_jail(row.host, row.jail):
            return Finding(row.tenant_id, "ok", (), row.generation)  # the jail is another's now
        path = newest.path if newest else row.env_path
        found = self._inspect(row, path, self._keys(row, newest))
        if isinstance(newest, Receipt):
            drift = standing.drift(self.context.keys, row, found, newest)
            state = "drift" if drift else "ok"
            return Finding(row.tenant_id, state, drift, newest.generation)
        left = newest is not None and path != row.env_path and found.kind == "directory"
        if not found.is_gone and not left:  # a directory at a place it has left is the tenant's
            return Finding(row.tenant_id, "drift", (f"unexpected {found.kind}",), row.generation)
        return Finding(row.tenant_id, "ok" if newest else "not_delivered", (), row.generation)

    def _keys(self, row: Tenant, newest: Receipt | Removal | None) -> frozenset[str]:
        """Return the variables whose files are looked at, where each has one."""
        if not is_set(row.delivery):
            return frozenset()
        return standing.known_keys(self.context, row.tenant_id, newest)

    def _inspect(self, row: Tenant, path: str, keys: Collection[str]) -> Found:
        try:
            root = self.context.shown_root(row)
        except ColibriError as error:
            if row.jail_root or error.code != "jail_not_found":
                raise
            return Found("missing")  # an ephemeral jail that nobody runs now
        limit = self.context.settings.max_env_bytes
        return standing.look(self.context.delivery, row, root, path, keys, max_bytes=limit)
