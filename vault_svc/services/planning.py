"""The planning of a batch: what each tenant's file is to be, beside what stands there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vault_svc.domain import delivered
from vault_svc.domain.plan import Known, Plan, Step, decide
from vault_svc.domain.receipt import Receipt
from vault_svc.domain.secret import SecretSet, Unchanged
from vault_svc.domain.tenant import Action, Tenant, next_status
from vault_svc.errors import ColibriError
from vault_svc.ports.delivery import JailRoot
from vault_svc.ports.secret_source import Answer
from vault_svc.services import standing
from vault_svc.services.agreement import delivered_revision
from vault_svc.services.context import Context
from vault_svc.services.job import Job, Options


class Planner:
    """Plans jobs; but for a row's root, and a jail's memory, it changes nothing."""

    def __init__(self, context: Context, options: Options) -> None:
        """Take the ports and the run's options."""
        self._context = context
        self._options = options

    def planned(
        self,
        work: Sequence[tuple[Known, Answer]],
        listed: Mapping[str, Tenant],
        held: Context,
    ) -> tuple[list[Job], dict[str, ColibriError]]:
        """Return the jobs, and by tenant what kept others from being planned."""
        jobs: list[Job] = []
        failures: dict[str, ColibriError] = {}
        for known, resolved in work:
            tenant = known.tenant
            try:
                jobs.append(self._plan(known, resolved, listed[tenant.tenant_id], held))
            except ColibriError as error:
                failures[tenant.tenant_id] = error.for_tenant(tenant.tenant_id)
        return jobs, failures

    def _plan(self, known: Known, resolved: Answer, listed: Tenant, held: Context) -> Job:
        started, tenant = self._context.clock.monotonic(), known.tenant
        next_status(tenant, Action.PROVISION)
        if _asked_for(tenant) != _asked_for(listed):
            raise ColibriError("busy", "the row was changed meanwhile", hint="run it again")
        if isinstance(resolved, ColibriError):
            raise resolved
        if isinstance(resolved, Unchanged):
            return self._untouched(known, resolved, started, held)
        content = self._render(tenant, resolved)
        if not self._options.dry_run:
            held.have_memory(tenant)
        root, path = held.shown_root(tenant), delivered.parts(tenant.delivery, tenant.env_path)
        limit = self._context.settings.max_env_bytes
        keys = known.keys | set(resolved.names())
        found = standing.look(held.delivery, tenant, root, tenant.env_path, keys, max_bytes=limit)
        if not self._options.dry_run:  # not before: the look proves the root
            known = self._located(known, root)
        digest = self._context.keys.digest(tenant.tenant_id, content)
        plan = decide(known, found, content, digest, recorded=self._recorded(known, content))
        return Job(
            known,
            root,
            path,
            content,
            plan,
            resolved.revision,
            resolved.names(),
            started,
            delivered.warnings(tenant, resolved),
            resolved.left_out,
            found,
        )

    def _untouched(self, known: Known, resolved: Unchanged, started: float, held: Context) -> Job:
        """Look once more, under the lock: the file may have changed since the source was asked."""
        tenant, newest = known.tenant, known.newest
        revision = delivered_revision(self._context, tenant, newest, known.intents)
        if not isinstance(newest, Receipt) or revision != resolved.revision:
            raise ColibriError("busy", "the file was changed meanwhile", hint="run it again")
        root, path = held.shown_root(tenant), delivered.parts(tenant.delivery, tenant.env_path)
        plan = Plan(Step.NOTHING, tenant.generation, newest.digest, (), announced=True)
        return Job(known, root, path, b"", plan, revision, newest.keys, started, (), ())

    def _located(self, known: Known, root: JailRoot) -> Known:
        """Record where an unstable root is before anything is written there (decision 7)."""
        if root.mount or known.tenant.jail_root == root.path:
            return known
        row = replace(known.tenant, jail_root=root.path)
        self._context.registry.update(row, expected=known.tenant)
        return replace(known, tenant=row)

    def _recorded(self, known: Known, content: bytes) -> bool:
        """Compare with the newest receipt under the key it was made with."""
        newest, tenant = known.newest, known.tenant
        if not isinstance(newest, Receipt) or newest.path != tenant.env_path:
            return False
        key_id = newest.digest.partition(":")[0]
        try:
            digest = self._context.keys.digest(tenant.tenant_id, content, key_id=key_id)
        except ColibriError as error:
            if error.code != "credential_missing":
                raise
            return False  # a lost host key: what it vouched for is taken over as found
        return newest.digest == digest

    def _render(self, tenant: Tenant, resolved: SecretSet) -> bytes:
        may_be_empty = self._options.allow_empty or tenant.collection_id is None
        if not resolved.values and not may_be_empty:
            raise ColibriError(
                "collection_empty",
                f"collection '{tenant.collection}' of tenant '{tenant.tenant_id}' is empty",
                hint="put a secret in, or deliver the empty file with --allow-empty",
            )
        settings = self._context.settings
        content = delivered.render(tenant, resolved, settings.allowed_variables)
        if len(content) > settings.max_env_bytes:
            raise ColibriError(
                "secret_value_unrepresentable",
                f"the file of tenant '{tenant.tenant_id}' would have {len(content)} bytes,"
                f" the limit is {settings.max_env_bytes}",
                hint="split the collection, or raise the setting max_env_bytes",
            )
        return content


def _asked_for(row: Tenant) -> tuple[str, str | None, int]:
    return row.source, row.collection_id, row.generation
