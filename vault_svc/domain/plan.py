"""What one run of provision does for one tenant (decision 11), and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vault_svc.domain import files
from vault_svc.domain.delivered import MODES, is_set
from vault_svc.domain.receipt import Found, Intent, Owner, Receipt, Removal
from vault_svc.domain.tenant import Status, Tenant
from vault_svc.errors import ColibriError


class Step(StrEnum):
    """The three things a run can find to do."""

    NOTHING = "unchanged"
    ADOPT = "adopted"
    WRITE = "delivered"


@dataclass(frozen=True, slots=True)
class Plan:
    """A tenant's next step: its generation, digest, and how the jail differs from it."""

    step: Step
    generation: int
    digest: str
    drift: tuple[str, ...]
    announced: bool


@dataclass(frozen=True, slots=True)
class Known:
    """What the registry knows of a tenant when its lock is held."""

    tenant: Tenant
    newest: Receipt | Removal | None
    intents: tuple[Intent, ...]

    @property
    def keys(self) -> frozenset[str]:
        """The variables that may stand in the jail: delivered, or announced."""
        delivered = self.newest.keys if isinstance(self.newest, Receipt) else ()
        return frozenset(delivered).union(*(intent.keys for intent in self.intents))

    def next_generation(self) -> int:
        """Return max(row, open intents) + 1."""
        return max([self.tenant.generation, *(intent.generation for intent in self.intents)]) + 1


def decide(known: Known, found: Found, content: bytes, digest: str, *, recorded: bool) -> Plan:
    """Return the step for content; recorded says that the newest receipt is of these bytes.

    A no-op needs the file, the rendered bytes and the newest receipt to agree with no intent
    open. Equal bytes under an open intent take that intent's generation.
    """
    tenant = known.tenant
    differs = files.drift if is_set(tenant.delivery) else Found.drift_from
    owner = Owner(tenant.owner_uid, tenant.owner_gid)
    drift = differs(found, content, MODES[tenant.delivery], owner)
    if drift:
        return Plan(Step.WRITE, known.next_generation(), digest, drift, announced=False)
    if recorded and not known.intents and tenant.status is Status.ACTIVE:
        return Plan(Step.NOTHING, tenant.generation, digest, (), announced=True)
    for intent in sorted(known.intents, key=lambda intent: -intent.generation):
        if intent.digest == digest:
            return Plan(Step.ADOPT, intent.generation, digest, (), announced=True)
    return Plan(Step.ADOPT, known.next_generation(), digest, (), announced=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to for one tenant."""

    tenant_id: str
    result: str
    receipt: Receipt | None = None
    error: ColibriError | None = None
    drift: tuple[str, ...] = ()
    displaced: str = ""
    warnings: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    jail: str = ""
