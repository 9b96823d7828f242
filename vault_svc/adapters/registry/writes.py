"""The registry's writing statements, built once; values are bound at execution.

They name tables and columns, no more: the models of `tables.py` would cost a run SQLModel, the
ORM and pydantic. A test holds the names to the models'.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    TableClause,
    and_,
    bindparam,
    case,
    column,
    delete,
    func,
    insert,
    or_,
    select,
    table,
    update,
)

from vault_svc.adapters.registry.lease_rows import LEASE_COLUMNS, TOKEN_COLUMNS, VARIABLE_COLUMNS
from vault_svc.adapters.registry.schema import DELIVERY_COLUMNS, INTENT_COLUMNS, TENANT_COLUMNS


def _named(name: str, *columns: str) -> TableClause:
    return table(name, *map(column, columns))


TENANTS: Final = _named("tenants", *TENANT_COLUMNS)
DELIVERIES: Final = _named("deliveries", "id", *DELIVERY_COLUMNS)
INTENTS: Final = _named("intents", *INTENT_COLUMNS)
AUDIT_HEAD: Final = _named("audit_head", "id", "seq", "mac")
LEASE_VARIABLES: Final = _named("lease_variables", *VARIABLE_COLUMNS)
LEASES: Final = _named("leases", *LEASE_COLUMNS)
LEASE_TOKENS: Final = _named("lease_tokens", *TOKEN_COLUMNS)

_T: Final[Any] = bindparam("t")


def _at_least(number: Any) -> Any:
    """Return the row's generation or number, whichever is higher (MAX of two is not portable)."""
    return case((TENANTS.c.generation < number, number), else_=TENANTS.c.generation)


ANNOUNCE: Final = insert(INTENTS)
RECORD: Final = insert(DELIVERIES)

DELIVERED: Final = (
    update(TENANTS)
    .where(TENANTS.c.tenant_id == _T)
    .values(
        status=case((TENANTS.c.status == "registered", "active"), else_=TENANTS.c.status),
        generation=_at_least(bindparam("new_generation")),
        last_error=None,
        updated_at=bindparam("at"),
    )
)

FAILED: Final = (
    update(TENANTS).where(TENANTS.c.tenant_id == _T).values(last_error=bindparam("line"))
)

END_INTENTS: Final = delete(INTENTS).where(INTENTS.c.tenant_id == _T)

_announced: Final = (
    select(func.coalesce(func.max(INTENTS.c.generation), 0))
    .where(INTENTS.c.tenant_id == _T)
    .scalar_subquery()
)
_reached: Final[Any] = bindparam("new_generation")
CLOSE: Final = (
    update(TENANTS)
    .where(
        TENANTS.c.tenant_id == _T,
        or_(TENANTS.c.status != "offboarded", bindparam("new_status") == "offboarded"),
    )
    .values(
        status=bindparam("new_status"),
        generation=_at_least(case((_announced > _reached, _announced), else_=_reached)),
        last_error=bindparam("line"),
        updated_at=bindparam("at"),
    )
)

# The newest record that is too many; NULL, which nothing is older than, while there is none.
_oldest_kept: Final = (
    select(DELIVERIES.c.id)
    .where(DELIVERIES.c.tenant_id == _T)
    .order_by(DELIVERIES.c.id.desc())
    .limit(1)
    .offset(bindparam("kept"))
    .scalar_subquery()
)
PRUNE: Final = delete(DELIVERIES).where(
    DELIVERIES.c.tenant_id == _T, DELIVERIES.c.id <= _oldest_kept
)

MIRROR: Final = (
    update(AUDIT_HEAD)
    .where(AUDIT_HEAD.c.seq < bindparam("new_seq"))
    .values(seq=bindparam("new_seq"), mac=bindparam("new_mac"))
)

_records = DELIVERIES.alias("records")
_newest: Final = select(func.max(_records.c.id)).where(_records.c.tenant_id == _T).scalar_subquery()
REDIGEST: Final = (
    update(DELIVERIES)
    .where(and_(DELIVERIES.c.id == _newest, DELIVERIES.c.digest == bindparam("old")))
    .values(digest=bindparam("new"), parts=bindparam("new_parts"))
)

UNMAP: Final = delete(LEASE_VARIABLES).where(
    LEASE_VARIABLES.c.tenant_id == _T, LEASE_VARIABLES.c.variable == bindparam("name")
)
MAP: Final = insert(LEASE_VARIABLES)
FORGET_LEASE: Final = delete(LEASES).where(LEASES.c.key == bindparam("k"))
RECORD_LEASE: Final = insert(LEASES)
FORGET_TOKEN: Final = delete(LEASE_TOKENS).where(LEASE_TOKENS.c.accessor == bindparam("k"))
RECORD_TOKEN: Final = insert(LEASE_TOKENS)
REPLACED_TOKENS: Final = (
    update(LEASE_TOKENS).where(LEASE_TOKENS.c.tenant_id == _T).values(live=False)
)
