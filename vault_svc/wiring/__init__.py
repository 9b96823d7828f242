"""Builds the services from the settings; the only package that names adapters.

Everything is built when first asked for, so that a command pays only for what it uses. Each module
adds to the one before: ground, engines, sources, context, hooks, and here the use cases.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from vault_svc.settings import Settings
from vault_svc.wiring.hooks import WithHooks
from vault_svc.wiring.names import (
    ENGINES,
    OPERATED_SOURCES,
    SERVER_SOURCES,
    SOURCES,
    WRITABLE_SOURCES,
)

if TYPE_CHECKING:
    from vault_svc.domain.plan import Outcome
    from vault_svc.domain.secret import SecretValue
    from vault_svc.domain.tenant import Tenant
    from vault_svc.ports.audit_log import AuditLog
    from vault_svc.ports.registry import TenantReader
    from vault_svc.ports.secret_source import Resolve
    from vault_svc.ports.spawning import SpawnRecords
    from vault_svc.services.audit import Auditing
    from vault_svc.services.doctor import Doctor
    from vault_svc.services.jails import Jails
    from vault_svc.services.job import Options
    from vault_svc.services.keys import Keys
    from vault_svc.services.leases import Leases
    from vault_svc.services.provision import Provisioner
    from vault_svc.services.registration import Registrar
    from vault_svc.services.removal import Remover
    from vault_svc.services.renewal import Renewer
    from vault_svc.services.secrets import Secrets
    from vault_svc.services.sources import Sources
    from vault_svc.services.spawn import Spawner
    from vault_svc.services.tenants import Tenants
    from vault_svc.services.verify import Verifier

__all__ = [
    "ENGINES",
    "OPERATED_SOURCES",
    "SERVER_SOURCES",
    "SOURCES",
    "WRITABLE_SOURCES",
    "Services",
]


class Services(WithHooks):
    """The use cases over the configured adapters."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings; open nothing yet. Raises `usage` for defaults that are not there."""
        super().__init__(settings)
        if settings.known_way:
            from vault_svc.hazmat.hidden_owners import vouch

            vouch(settings.known_way)

    def initialise(self) -> tuple[str, ...]:
        """Make the state directory, its keys and the registry; return what was made."""
        from vault_svc.adapters.state import make_state

        settings = self.settings
        made = make_state(settings.daemon_data_dir, settings.tree_bases)
        if self._registry.initialise():
            made = (*made, "registry")
        return (*made, *self.keys.initialise())

    @cached_property
    def registrar(self) -> Registrar:
        """Register."""
        from vault_svc.services.registration import Registrar

        return Registrar(self._context, self._spawns)

    @cached_property
    def tenants(self) -> Tenants:
        """Update."""
        from vault_svc.services.tenants import Tenants

        return Tenants(self._context, self._spawns)

    @cached_property
    def provisioner(self) -> Provisioner:
        """Provision."""
        from vault_svc.services.provision import Provisioner

        return Provisioner(self._context, self._apart)

    def _apart(
        self, parts: Sequence[Sequence[Tenant]], options: Options, resolve: Resolve
    ) -> Iterator[Outcome]:
        """Deliver to each part in a process with connections of its own."""
        from vault_svc.hazmat.forked import spread
        from vault_svc.services.provision import Provisioner

        def deliver(part: Sequence[Tenant]) -> Iterator[Sequence[Outcome]]:
            services = Services(self.settings)
            try:
                yield from Provisioner(services._context, resolve=resolve).part(part, options)
            finally:
                services.close()

        # SQLite knows its locks by process: nothing of it may be open when one is made of us.
        self._registry.dispose()
        outcomes = spread(parts, deliver)
        self._closing.callback(outcomes.close)  # before the registry's, which came first
        for batch in outcomes:
            yield from batch

    def spawner(self, tell: Callable[[str], None]) -> Spawner:
        """Run agents in jails."""
        from vault_svc.hazmat.attach import signals_held
        from vault_svc.services.spawn import Spawner

        self._require_state()
        return Spawner(self._context, self._spawns, signals_held, tell)

    @cached_property
    def _spawns(self) -> SpawnRecords:
        from vault_svc.adapters.spawns import FileSpawnRecords

        return FileSpawnRecords(
            self.settings.inside("spawns"), lock_timeout_seconds=self.settings.lock_timeout_seconds
        )

    def local(self, argv: Sequence[str]) -> int:
        """Run a command here, in no jail, as the default owner; return its exit status."""
        from vault_svc.adapters.jails.owners import who_runs
        from vault_svc.domain.receipt import Owner
        from vault_svc.hazmat.attach import attached, signals_held

        owner = Owner(self.settings.default_owner_uid, self.settings.default_owner_gid)
        with signals_held():
            return attached(argv, user=who_runs(owner))

    @cached_property
    def verifier(self) -> Verifier:
        """Verify."""
        from vault_svc.services.verify import Verifier

        return Verifier(self._context)

    @cached_property
    def remover(self) -> Remover:
        """Suspend, revoke, offboard, resume."""
        from vault_svc.services.removal import Remover

        return Remover(self._context)

    @cached_property
    def leases(self) -> Leases:
        """Map variables to leased paths."""
        from vault_svc.services.leases import Leases

        return Leases(self._context)

    @cached_property
    def renewer(self) -> Renewer:
        """Renew, replace or take out what is leased."""
        from vault_svc.services.renewal import Renewer

        return Renewer(self._context)

    @cached_property
    def secrets(self) -> Secrets:
        """Set, list, unset, import."""
        from vault_svc.services.secrets import Secrets

        return Secrets(self._context, self._writer, OPERATED_SOURCES)

    @cached_property
    def sources(self) -> Sources:
        """Log in to servers, test, show, log out."""
        from vault_svc.adapters.state import record_default_source
        from vault_svc.services.sources import Sources

        data_dir = self.settings.daemon_data_dir
        return Sources(
            self._context,
            self._credentials,
            self._admin,
            self._policed,
            lambda source: record_default_source(data_dir, source),
        )

    @cached_property
    def jails(self) -> Jails:
        """Create, list, destroy."""
        from vault_svc.services.jails import Jails

        self._require_state()
        return Jails(self._context, self._engines, self._spawns)

    @cached_property
    def keys(self) -> Keys:
        """Make and rotate keys."""
        from vault_svc.adapters.credentials.hostkeys import fresh_host_key
        from vault_svc.services.keys import Keys

        makers = {
            self.settings.host_key: fresh_host_key,
            self.settings.embedded_identity: self._embedded.first_identity,
        }
        return Keys(self._context, self._credentials, makers, self._embedded)

    @cached_property
    def doctor(self) -> Doctor:
        """Look at this host."""
        from vault_svc.services.doctor import Doctor

        return Doctor(
            self._context,
            self._engines,
            lambda: f"by {self._walk}",
            lambda: (self._second_layer, self._no_second_layer),
            self._unproven(),
        )

    def _unproven(self) -> list[str]:
        """Name what is in use here and has not run against the real thing (decision 27)."""
        parts = [] if sys.platform == "linux" else [f"system {sys.platform}"]
        return parts + (["registry PostgreSQL"] * self.settings.db_url.startswith("postgresql"))

    @cached_property
    def auditing(self) -> Auditing:
        """Put a broken audit log aside."""
        from vault_svc.services.audit import Auditing

        return Auditing(self._context)

    @property
    def reader(self) -> TenantReader:
        """Rows and records, for commands that only look."""
        return self._registry

    @property
    def audit(self) -> AuditLog:
        """The audit log, for commands that only look."""
        self._require_state()
        return self._audit

    def private_file(self, path: str) -> SecretValue:
        """Return what a private file holds; raise `credential_missing` or `credential_unsafe`."""
        return self._credentials.get(f"file:{path}")

    def isolates(self, engine: str) -> bool:
        """Say whether an engine keeps its tenants from the host's files."""
        return self._engine(engine).capabilities.isolates
