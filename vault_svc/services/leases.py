"""Mappings: which variables of a tenant come from a leased path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vault_svc.domain import lease_names
from vault_svc.domain.audit import Event
from vault_svc.domain.lease import Lease, LeasedVariable, Standing, State
from vault_svc.domain.receipt import Receipt
from vault_svc.domain.tenant import Action, Status, Tenant, next_status
from vault_svc.errors import ColibriError, printable
from vault_svc.services.context import Context


@dataclass(frozen=True, slots=True)
class Leased:
    """A mapping, and the lease its value in the jail is from, if there is one now."""

    variable: LeasedVariable
    lease: Lease | None


@dataclass(frozen=True, slots=True)
class Leases:
    """Add, list, remove; provision delivers the change and asks for leases."""

    context: Context

    def add(
        self, tenant_id: str, mappings: Sequence[str], params: Sequence[str]
    ) -> tuple[LeasedVariable, ...]:
        """Map variables, each `VAR=PATH#FIELD`, in one step; return those that are new.

        Raises `usage`, `secret_name_refused`, `secret_ambiguous` for a variable that is mapped
        elsewhere already or that the tenant's collection has.
        """
        allowed = self.context.settings.allowed_variables
        with self.context.locks.hold(tenant_id):
            row = self._open(tenant_id)
            wanted = [
                lease_names.leased_variable(tenant_id, text, params, allowed=allowed)
                for text in mappings
            ]
            standing = self._standing(tenant_id)
            there = {each.variable: each for each in standing.variables}
            self._refuse_taken(row, wanted, standing)
            fresh = tuple(each for each in wanted if there.get(each.variable) != each)
            if fresh:
                self.context.audit.ready()
                self.context.leases.change_variables(tenant_id, fresh, ())
                self._record(tenant_id, added=[f"{m.variable}={m.path}#{m.field}" for m in fresh])
        return fresh

    def remove(self, tenant_id: str, variables: Sequence[str]) -> tuple[str, ...]:
        """Take mappings away; return their names. Raises `secret_missing` for an unknown one."""
        with self.context.locks.hold(tenant_id):
            self._open(tenant_id)
            there = {each.variable for each in self._standing(tenant_id).variables}
            for name in variables:
                if name not in there:
                    raise ColibriError(
                        "secret_missing",
                        f"tenant '{tenant_id}' leases no variable '{printable(name[:64])}'",
                        hint=f"colibri lease list {tenant_id}",
                        tenant=tenant_id,
                    )
            self.context.audit.ready()
            gone = tuple(sorted(set(variables)))
            self.context.leases.change_variables(tenant_id, (), gone)
            self._record(tenant_id, removed=list(gone))
        return gone

    def listed(self, tenant_id: str | None) -> list[Leased]:
        """Return mappings, of one tenant or of all, with their leases; asks no server."""
        if tenant_id is not None:
            self.context.registry.tenant(tenant_id)
        ids = self.context.leases.tenants() if tenant_id is None else [tenant_id]
        found = self.context.leases.standings(ids)
        return [
            Leased(mapped, _live(found[each], mapped))
            for each in sorted(found)
            for mapped in found[each].variables
        ]

    def _open(self, tenant_id: str) -> Tenant:
        row = self.context.registry.tenant(tenant_id)
        if row.status is Status.OFFBOARDED:
            next_status(row, Action.SUSPEND)
        return row

    def _standing(self, tenant_id: str) -> Standing:
        return self.context.leases.standings([tenant_id]).get(tenant_id, Standing())

    def _refuse_taken(
        self, row: Tenant, wanted: Sequence[LeasedVariable], standing: Standing
    ) -> None:
        """Look before provision does: its look at the collection is what really decides."""
        newest = self.context.registry.newest([row.tenant_id]).get(row.tenant_id)
        delivered = newest.keys if isinstance(newest, Receipt) else ()
        static = set(delivered) - standing.leased_names()
        seen = {each.variable: each for each in standing.variables}
        for each in wanted:
            if seen.setdefault(each.variable, each) != each:
                raise _ambiguous(each, "it is mapped already", row.tenant_id)
            if each.variable in static:
                raise _ambiguous(each, "the tenant's collection has it", row.tenant_id)

    def _record(self, tenant_id: str, **detail: object) -> None:
        self.context.record(Event.LEASES_MAPPED, tenant_id, **detail)


def _live(standing: Standing, mapped: LeasedVariable) -> Lease | None:
    for lease in standing.leases:
        filled = (mapped.variable, mapped.field) in lease.request.fields
        same = (lease.request.path, lease.request.params) == (mapped.path, mapped.params)
        if lease.state is State.LIVE and filled and same:
            return lease
    return None


def _ambiguous(mapped: LeasedVariable, why: str, tenant_id: str) -> ColibriError:
    return ColibriError(
        "secret_ambiguous",
        f"'{mapped.variable}' cannot be leased: {why}",
        hint=f"colibri lease remove {tenant_id} {mapped.variable}, or choose another name",
        tenant=tenant_id,
    )
