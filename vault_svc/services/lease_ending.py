"""Ends leases and tenants' tokens at the server, and proves by looking that they are over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vault_svc.domain.lease import Lease, LeaseToken, State
from vault_svc.errors import ColibriError
from vault_svc.ports.lease_source import LeaseSource
from vault_svc.services.context import Context


@dataclass(frozen=True, slots=True)
class LeaseEnder:
    """Idempotent: what the server does not know any more has ended."""

    context: Context

    def everything(self, tenant_id: str) -> tuple[str, ...]:
        """End a tenant's every lease and token; return what ended, in words."""
        standing = self.context.leases.standings([tenant_id]).get(tenant_id)
        if standing is None or not (standing.leases or standing.tokens):
            return ()
        return self.end(tenant_id, standing.leases, standing.tokens)

    def close(self, tenant_id: str) -> tuple[str, ...]:
        """End everything, and what would let a tenant that leaves lease again."""
        ended = self.everything(tenant_id)
        standing = self.context.leases.standings([tenant_id]).get(tenant_id)
        if standing is None or not standing.variables:
            return ended
        self.context.lease_source().close(tenant_id)
        return (*ended, "the lease policy")

    def left(self, tenant_id: str) -> bool:
        """Say whether there is anything to end."""
        standing = self.context.leases.standings([tenant_id]).get(tenant_id)
        return standing is not None and bool(standing.leases or standing.tokens)

    def end(
        self, tenant_id: str, leases: Sequence[Lease], tokens: Sequence[LeaseToken]
    ) -> tuple[str, ...]:
        """End these; what fails stays recorded, the others go on, the first failure is raised.

        Leases go first, each by itself: the server ends a dead token's leases in its own time,
        and could not be asked about it. What was asked for untold ends with its token.
        """
        source = self.context.lease_source()
        ended: list[str] = []
        failures: list[ColibriError] = []
        for lease in leases:
            if lease.state is State.ASKED:
                continue
            try:
                ended.append(self._end_lease(source, lease))
            except ColibriError as error:
                failures.append(error)
        for token in tokens:
            try:
                self._end_token(source, token, leases)
                ended.append("the lease token")
            except ColibriError as error:
                failures.append(error)
        if any(token.live for token in tokens):
            self.context.lease_tokens.drop(tenant_id)
        if failures:
            raise failures[0].for_tenant(tenant_id)
        return tuple(ended)

    def _end_lease(self, source: LeaseSource, lease: Lease) -> str:
        words = f"the lease of {lease.request.path}"
        if lease.lease_id:
            source.end(lease.lease_id)
            if source.is_alive(lease.lease_id):
                raise _still_there(words)
        else:
            words = f"{lease.request.path}, which is good until {lease.expires_at}"
        self.context.leases.forget(leases=[lease.key])
        return words

    def _end_token(self, source: LeaseSource, token: LeaseToken, leases: Sequence[Lease]) -> None:
        source.end_token(token.accessor)
        if source.is_token_alive(token.accessor):
            raise _still_there("the lease token")
        untold = [
            lease.key
            for lease in leases
            if lease.state is State.ASKED and lease.accessor == token.accessor
        ]
        self.context.leases.forget(leases=untold, tokens=[token.accessor])


def _still_there(what: str) -> ColibriError:
    return ColibriError(
        "source_incomplete",
        f"the server said it ended {what}, but still has it",
        hint="run it again; see the runbook dynamic-secrets.md",
    )
