"""A registry that is older than the audit log: what it forgot must not bring secrets back.

The log's lines beyond the head that the registry remembers are read before more are written.
After a crash they announce deliveries; only where an older registry was put back do they end a
tenant that its row has active. Such a row is closed as the log says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from vault_svc.domain.audit import Event
from vault_svc.domain.tenant import Status
from vault_svc.errors import ColibriError

if TYPE_CHECKING:
    from vault_svc.services.context import Context

_ENDS: Final[Mapping[str, Status]] = {
    Event.SUSPENDED: Status.SUSPENDED,
    Event.REVOKED: Status.SUSPENDED,
    Event.OFFBOARDED: Status.OFFBOARDED,
}
_BEGINS: Final = frozenset({str(Event.RESUMED), str(Event.TENANT_REGISTERED)})
_OPEN: Final = (Status.REGISTERED, Status.ACTIVE)


def closed(context: Context) -> dict[str, ColibriError]:
    """Close the rows that should not be open; return, by tenant, why."""
    head, remembered = context.audit.head(), context.registry.audit_head()
    if not head or not remembered or head.seq <= remembered.seq:
        return {}
    ended = _ended(context.audit.tail(head.seq - remembered.seq))
    refused = {}
    for tenant_id, row in context.registry.rows(ended).items():
        if row.status in _OPEN:
            status, now = _ENDS[ended[tenant_id]], context.clock.now()
            changed = replace(row, status=status, updated_at=now)
            context.registry.close(changed, removal=None, head=None)
            refused[tenant_id] = _refusal(tenant_id, ended[tenant_id])
    context.registry.mirror(head)  # acted upon: what comes next need not look again
    return refused


def _ended(lines: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        event, tenant_id = str(line["event"]), str(line["tenant"])
        if event in _ENDS:
            found[tenant_id] = event
        elif event in _BEGINS:
            found.pop(tenant_id, None)
    return found


def _refusal(tenant_id: str, event: str) -> ColibriError:
    return ColibriError(
        "tenant_suspended",
        f"the audit log says that tenant '{tenant_id}' was {event}: the registry was an older copy"
        " that did not, its row is closed again",
        hint="see the runbook registry-corrupt.md, and look at the other tenants",
        tenant=tenant_id,
    )
