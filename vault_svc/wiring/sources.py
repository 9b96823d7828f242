"""Secret sources by name, and who operates them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from vault_svc.errors import ColibriError
from vault_svc.settings import Settings
from vault_svc.wiring.engines import WithEngines
from vault_svc.wiring.names import SERVER_SOURCES, SOURCES, WRITABLE_SOURCES, unknown

if TYPE_CHECKING:
    from vault_svc.adapters.sources.embedded import EmbeddedSource
    from vault_svc.adapters.sources.vault.admin import VaultAdmin
    from vault_svc.adapters.sources.vault.source import VaultSource
    from vault_svc.adapters.sources.vaultwarden.admin import VaultwardenAdmin
    from vault_svc.adapters.sources.vaultwarden.source import VaultwardenSource
    from vault_svc.domain.secret import SecretValue
    from vault_svc.ports.lease_source import LeaseSource
    from vault_svc.ports.secret_source import SecretSource, SecretWriter
    from vault_svc.ports.source_admin import SourceAdmin, SourcePolicies


class WithSources(WithEngines):
    """The sources over the settings."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings; raise `usage` for a default source that is not there."""
        super().__init__(settings)
        if settings.default_source not in SOURCES:
            raise unknown("source (setting default_source)", settings.default_source, SOURCES)

    @cached_property
    def _embedded(self) -> EmbeddedSource:
        from vault_svc.adapters.clock import SystemClock
        from vault_svc.adapters.sources.embedded import EmbeddedSource, Limits

        return EmbeddedSource(
            self.settings.inside("store"),
            self._credentials,
            self.settings.embedded_identity,
            SystemClock(),
            limits=Limits(
                self.settings.max_value_bytes,
                self.settings.max_secrets_per_collection,
                self.settings.max_collection_bytes,
            ),
            allowed_variables=self.settings.allowed_variables,
            lock_timeout_seconds=self.settings.lock_timeout_seconds,
        )

    @cached_property
    def _lease_source(self) -> LeaseSource:
        from vault_svc.adapters.sources.vault.leases import VaultLeases

        return VaultLeases(self._vault.stored, self._vault.sessions, self._closing)

    @cached_property
    def _vaultwarden(self) -> VaultwardenAdmin:
        import time

        from vault_svc.adapters.clock import SystemClock
        from vault_svc.adapters.sources.vaultwarden.admin import VaultwardenAdmin
        from vault_svc.adapters.sources.vaultwarden.breaker import Breaker
        from vault_svc.adapters.sources.vaultwarden.options import Options
        from vault_svc.adapters.sources.vaultwarden.session import TRANSPORTS, Sessions

        settings, clock = self.settings, SystemClock()
        if settings.bw_transport not in TRANSPORTS:
            raise unknown("transport of bw", settings.bw_transport, tuple(TRANSPORTS))
        options = Options(
            data_dir=settings.daemon_data_dir,
            runtime_dir=settings.bw_runtime_dir,
            transport=settings.bw_transport,
            bw_path=settings.bw_path,
            node_path=settings.node_path,
            untested_version=settings.bw_untested_version,
            timeout_seconds=settings.bw_timeout_seconds,
            lock_timeout_seconds=settings.bw_lock_timeout_seconds,
            max_output_bytes=settings.bw_max_output_bytes,
            max_memory_bytes=settings.bw_max_memory_bytes,
            max_appdata_bytes=settings.bw_max_appdata_bytes,
            backoff_seconds=settings.bw_backoff_seconds,
            backoff_limit_seconds=settings.bw_backoff_limit_seconds,
        )
        return VaultwardenAdmin(
            self._credentials,
            settings.vaultwarden_credential,
            options,
            Sessions(options, clock, _import_what_writes),
            Breaker(options, clock, time.sleep),
        )

    @cached_property
    def _vaultwarden_source(self) -> VaultwardenSource:
        from vault_svc.adapters.sources.vaultwarden.options import Rules
        from vault_svc.adapters.sources.vaultwarden.source import VaultwardenSource

        settings, admin = self.settings, self._vaultwarden
        rules = Rules(
            settings.allowed_variables,
            settings.ignored_items,
            settings.shared_items,
            settings.max_value_bytes,
            settings.max_secrets_per_collection,
            settings.max_collection_bytes,
        )
        return VaultwardenSource(admin.stored, admin.sessions, admin.breaker, rules)

    @cached_property
    def _vault(self) -> VaultAdmin:
        from vault_svc.adapters.clock import SystemClock
        from vault_svc.adapters.sources.circuit import Circuit
        from vault_svc.adapters.sources.vault.admin import VaultAdmin
        from vault_svc.adapters.sources.vault.options import Options
        from vault_svc.adapters.sources.vault.session import CIRCUIT_FILE, MEND, Sessions

        settings = self.settings
        options = Options(
            proxy=settings.vault_proxy,
            timeout_seconds=settings.vault_timeout_seconds,
            max_answer_bytes=settings.vault_max_answer_bytes,
            concurrency=settings.vault_concurrency,
            backoff_seconds=settings.vault_backoff_milliseconds / 1000,
            patience_seconds=settings.vault_patience_seconds,
        )
        circuit = Circuit(settings.daemon_data_dir, CIRCUIT_FILE, MEND, SystemClock())
        sessions = Sessions(options, self._credentials, circuit)
        return VaultAdmin(self._credentials, settings.vault_credential, sessions)

    @cached_property
    def _vault_source(self) -> VaultSource:
        from vault_svc.adapters.sources.vault.options import Rules
        from vault_svc.adapters.sources.vault.source import VaultSource

        settings, admin = self.settings, self._vault
        rules = Rules(
            settings.allowed_variables,
            settings.max_value_bytes,
            settings.max_secrets_per_collection,
            settings.max_collection_bytes,
        )
        return VaultSource(admin.stored, admin.sessions, rules)

    def _source(self, name: str) -> SecretSource:
        if name not in SOURCES:
            raise unknown("source", name, SOURCES)
        if name == "vault":
            return self._vault_source
        return self._vaultwarden_source if name == "vaultwarden" else self._embedded

    def _writer(self, name: str, operator: SecretValue | None) -> SecretWriter:
        if name not in WRITABLE_SOURCES:
            raise unknown("source that can be written here", name, WRITABLE_SOURCES)
        if name != "vault":
            return self._embedded
        from vault_svc.adapters.sources.vault.writer import VaultWriter

        if operator is None:
            raise ColibriError("usage", "this source is written by an operator's token")
        return VaultWriter(lambda: self._vault.client(operator), self._vault_source.rules)

    def _admin(self, name: str) -> SourceAdmin:
        if name not in SERVER_SOURCES:
            raise unknown("source with a server", name, SERVER_SOURCES)
        return self._vault if name == "vault" else self._vaultwarden

    def _policed(self, name: str) -> SourcePolicies:
        if name != "vault":
            raise unknown("source with policies", name, ("vault",))
        return self._vault


def _import_what_writes() -> None:
    """Import the registry's writing side at a time that costs nobody any waiting."""
    import vault_svc.adapters.registry.sqlite_store  # noqa: F401
