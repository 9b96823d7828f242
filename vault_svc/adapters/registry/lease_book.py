"""The port `LeaseBook` over the registry's database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from vault_svc.adapters.registry.lazy import LazyRegistry
from vault_svc.adapters.registry.lease_rows import (
    LEASE_COLUMNS,
    TOKEN_COLUMNS,
    VARIABLE_COLUMNS,
    lease_of,
    lease_row,
    token_of,
    token_row,
    variable_of,
    variable_row,
)
from vault_svc.domain.lease import Lease, LeasedVariable, LeaseToken, Standing

_VARIABLES: Final = ("SELECT", ", ".join(VARIABLE_COLUMNS), "FROM lease_variables WHERE")
_LEASES: Final = ("SELECT", ", ".join(LEASE_COLUMNS), "FROM leases WHERE")
_TOKENS: Final = ("SELECT", ", ".join(TOKEN_COLUMNS), "FROM lease_tokens WHERE")
_ANY: Final = (
    "SELECT tenant_id FROM lease_variables UNION SELECT tenant_id FROM leases"
    " UNION SELECT tenant_id FROM lease_tokens"
)
_T = TypeVar("_T")


class RegistryLeases:
    """Reads by the cheapest way that is open; the first write opens the writing side."""

    def __init__(self, registry: LazyRegistry) -> None:
        """Take the registry whose database it is."""
        self._registry = registry

    def tenants(self) -> tuple[str, ...]:
        """Return the ids of tenants that have anything here; sorted."""
        return tuple(sorted(row[0] for row in self._registry.fetch(_ANY, {})))

    def standings(self, tenant_ids: Collection[str]) -> Mapping[str, Standing]:
        """Return what there is of each tenant; those with nothing are left out."""
        variables = _grouped(self._each(tenant_ids, _VARIABLES, "tenant_id, variable"), variable_of)
        leases = _grouped(self._each(tenant_ids, _LEASES, "tenant_id, issued_at, key"), lease_of)
        tokens = _grouped(self._each(tenant_ids, _TOKENS, "tenant_id, renewed_at"), token_of)
        return {
            tenant_id: Standing(
                tuple(variables.get(tenant_id, ())),
                tuple(leases.get(tenant_id, ())),
                tuple(tokens.get(tenant_id, ())),
            )
            for tenant_id in {*variables, *leases, *tokens}
        }

    def change_variables(
        self, tenant_id: str, add: Sequence[LeasedVariable], remove: Collection[str]
    ) -> None:
        """Add and remove mappings; an added one replaces the one of its name."""
        gone = {*remove, *(mapped.variable for mapped in add)}
        self._registry.store.replace_lease_variables(
            tenant_id, sorted(gone), [variable_row(mapped) for mapped in add]
        )

    def record(self, leases: Sequence[Lease] = (), tokens: Sequence[LeaseToken] = ()) -> None:
        """Store leases by key and tokens by accessor, new or changed."""
        self._registry.store.record_leases(
            [lease_row(lease) for lease in leases], [token_row(token) for token in tokens]
        )

    def forget(self, leases: Collection[str] = (), tokens: Collection[str] = ()) -> None:
        """Remove what has ended; works on a full disk."""
        if leases or tokens:
            self._registry.store.forget_leases(sorted(leases), sorted(tokens))

    def _each(
        self, tenant_ids: Collection[str], select: tuple[str, ...], order: str
    ) -> Iterator[Sequence[Any]]:
        return self._registry.each(tenant_ids, *select, "tenant_id IN", "$ids", f"ORDER BY {order}")


def _grouped(rows: Iterator[Sequence[Any]], made: Callable[[Sequence[Any]], _T]) -> Any:
    found: dict[str, list[_T]] = {}
    for row in rows:
        each: Any = made(row)
        found.setdefault(each.tenant_id, []).append(each)
    return found
