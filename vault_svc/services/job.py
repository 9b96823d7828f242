"""A job: one tenant on its way through a batch, from what was asked for to what is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from vault_svc.domain.plan import Known, Outcome, Plan, Step
from vault_svc.domain.receipt import Found, Placed, Receipt
from vault_svc.domain.tenant import Tenant
from vault_svc.errors import ColibriError
from vault_svc.ports.delivery import JailRoot


@dataclass(frozen=True, slots=True)
class Options:
    """How a run behaves: dry_run changes nothing, repair touches only what drifted.

    reload: tell the operator's program of what changed; not before an agent is started.
    """

    dry_run: bool = False
    repair: bool = False
    allow_empty: bool = False
    reload: bool = True


@dataclass(slots=True)
class Job:
    """A tenant on its way through the batch."""

    known: Known
    root: JailRoot
    path: tuple[str, ...]
    content: bytes = field(repr=False)
    plan: Plan
    revision: str
    keys: tuple[str, ...]
    started: float
    warnings: tuple[str, ...]
    left_out: tuple[str, ...]
    found: Found | None = None
    placed: Placed | None = None
    error: ColibriError | None = None

    @property
    def tenant(self) -> Tenant:
        """The row as it is under the lock."""
        return self.known.tenant


def outcome(job: Job, receipt: Receipt | None, *, dry_run: bool = False) -> Outcome:
    """Return what a batch tells of a job that is done, or would be."""
    if job.error:
        return failed(job.tenant.tenant_id, job.error)
    result: str = job.plan.step
    if dry_run and job.plan.step is Step.WRITE:
        result = "would_deliver"
    displaced = job.placed.displaced if job.placed else ""
    return Outcome(
        job.tenant.tenant_id,
        result,
        receipt,
        drift=job.plan.drift,
        displaced=displaced,
        warnings=job.warnings,
        left_out=job.left_out,
        jail=job.tenant.jail,
    )


def failed(tenant_id: str, error: ColibriError) -> Outcome:
    """Return the outcome of a tenant that was left as it was."""
    return Outcome(tenant_id, "failed", error=error.for_tenant(tenant_id))
