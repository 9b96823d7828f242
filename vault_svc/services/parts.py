"""Many tenants of one source, cut into parts that processes of ours deliver to side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from vault_svc.domain.plan import Outcome
from vault_svc.domain.tenant import Tenant
from vault_svc.errors import ColibriError
from vault_svc.ports.secret_source import Resolve
from vault_svc.services.context import Context
from vault_svc.services.job import Options, failed

Apart = Callable[[Sequence[Sequence[Tenant]], Options, Resolve], Iterator[Outcome]]
_LEAST_BATCHES = 2
"""A part smaller than this costs more than it saves."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Shares a run; apart serves each part in a process that Resolve answers."""

    context: Context
    apart: Apart

    def deliver(
        self, rows: Sequence[Tenant], options: Options, busy: list[str]
    ) -> Iterator[Outcome] | None:
        """Return the outcomes of rows, all of one source; None where they are not to be cut.

        Those that were busy are listed in busy instead. Raises what stops the whole source.
        """
        settings = self.context.settings
        number = min(
            settings.provision_processes, len(rows) // (_LEAST_BATCHES * settings.batch_size)
        )
        if number <= 1:
            return None
        resolve = self.context.source(rows[0].source).ahead()
        return self._cut(rows, number, options, resolve, busy) if resolve else None

    def _cut(
        self,
        rows: Sequence[Tenant],
        number: int,
        options: Options,
        resolve: Resolve,
        busy: list[str],
    ) -> Iterator[Outcome]:
        size = -(-len(rows) // number)
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        missing = {row.tenant_id for row in rows}
        for outcome in set_aside(self.apart(parts, options, resolve), busy):
            missing.discard(outcome.tenant_id)
            yield outcome
        missing.difference_update(busy)
        # Not tried again here: what ended that process could end this one.
        yield from (failed(tenant_id, _ended(tenant_id)) for tenant_id in sorted(missing))


def set_aside(outcomes: Iterator[Outcome], busy: list[str]) -> Iterator[Outcome]:
    """Yield outcomes but those of tenants that were busy, which are listed in busy."""
    for outcome in outcomes:
        if outcome.error and outcome.error.code == "busy":
            busy.append(outcome.tenant_id)
        else:
            yield outcome


def _ended(tenant_id: str) -> ColibriError:
    return ColibriError(
        "busy",
        f"the process that was at work on tenant '{tenant_id}' ended before it told what it did",
        hint="is the host out of memory? Run it again: it goes on where it stopped",
        tenant=tenant_id,
    )
