"""Reads a tenant's values back from its own file, if that is byte for byte what was delivered.

The jail is hostile: the keyed digest of the newest receipt vouches for every byte before one of
them is parsed. So no second copy of a leased value has to lie anywhere.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from vault_svc.domain import delivered
from vault_svc.domain.lease import Standing, State, reconciled
from vault_svc.domain.plan import Known
from vault_svc.domain.receipt import Found, Receipt
from vault_svc.domain.secret import SecretSet, SecretValue
from vault_svc.errors import ColibriError
from vault_svc.services.context import Context
from vault_svc.services.standing import look


@dataclass(frozen=True, slots=True, eq=False)
class ReadBack:
    """What stands in the jail; values is None unless it is what the newest receipt says."""

    found: Found
    values: dict[str, SecretValue] | None = field(default=None, repr=False)

    @property
    def names(self) -> frozenset[str]:
        """The variables whose values are known."""
        return frozenset(self.values or ())

    @property
    def is_settled(self) -> bool:
        """Whether it is certain which delivery stands there: the recorded one, or none."""
        return self.values is not None or self.found.is_gone


def read_back(context: Context, known: Known, also: Collection[str] = ()) -> ReadBack:
    """Look at a tenant's file; raise what keeps the jail from being looked at.

    also: variables that may have files of their own there, beside those that are recorded.
    """
    tenant, newest = known.tenant, known.newest
    path = newest.path if isinstance(newest, Receipt) else tenant.env_path
    found = look(
        context.delivery,
        tenant,
        context.agreed_root(tenant),
        path,
        known.keys.union(also),
        max_bytes=context.settings.max_env_bytes,
    )
    if not isinstance(newest, Receipt) or found.content is None:
        return ReadBack(found)
    if not _vouched_for(context, tenant.tenant_id, newest, found.content):
        return ReadBack(found)
    plain = delivered.values_of(tenant, found.content)
    return ReadBack(found, {name: SecretValue(value) for name, value in plain.items()})


def reconcile(context: Context, known: Known, standing: Standing, before: ReadBack) -> Standing:
    """Return, and record, leases as a run that was killed should have left them."""
    newest = known.newest
    certain = isinstance(newest, Receipt) and before.values is not None
    leases = reconciled(standing.leases, newest.generation if newest and certain else None)
    changed = [new for new, old in zip(leases, standing.leases, strict=True) if new != old]
    if changed:
        context.leases.record(changed)
    return replace(standing, leases=leases)


def static_part(known: Known, before: ReadBack, standing: Standing) -> SecretSet:
    """Return what the delivered file has that no lease gave."""
    live = [lease for lease in standing.leases if lease.state is State.LIVE]
    leased = {name for lease in live for name in lease.request.variables}
    leased |= {each.variable for each in standing.variables}
    return part(known, before, leased)


def part(known: Known, before: ReadBack, without: Collection[str]) -> SecretSet:
    """Return the delivered file's values without some, at the revision they were delivered."""
    rest = {name: v for name, v in (before.values or {}).items() if name not in without}
    revision = known.newest.source_revision if isinstance(known.newest, Receipt) else ""
    return SecretSet(known.tenant.collection_id or "", revision, rest)


def _vouched_for(context: Context, tenant_id: str, newest: Receipt, content: bytes) -> bool:
    key_id = newest.digest.partition(":")[0]
    try:
        digest = context.keys.digest(tenant_id, content, key_id=key_id)
    except ColibriError as error:
        if error.code != "credential_missing":
            raise
        return False  # a lost host key vouches for nothing
    return digest == newest.digest
