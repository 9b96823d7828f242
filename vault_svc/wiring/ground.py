"""What all else stands on: registry, audit log, credentials, the way into jails."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING

from vault_svc.settings import Settings

if TYPE_CHECKING:
    from vault_svc.adapters.memory import HostMemory
    from vault_svc.adapters.registry.lazy import LazyRegistry
    from vault_svc.ports.audit_log import AuditLog
    from vault_svc.ports.credential_store import CredentialStore, HostKeys
    from vault_svc.ports.delivery import Delivery


class Ground:
    """The adapters of one host's state, built when first asked for."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings; open nothing yet."""
        self.settings = settings
        self._closing = ExitStack()

    def close(self) -> None:
        """Log out where a run logged in, and give the registry's connections back."""
        self._closing.close()

    @cached_property
    def _registry(self) -> LazyRegistry:
        from vault_svc.adapters.registry.lazy import LazyRegistry

        registry = LazyRegistry(
            self.settings.db_url,
            self.settings.db_path,
            busy_timeout_seconds=self.settings.db_busy_timeout_seconds,
            receipts_kept=self.settings.receipts_kept,
        )
        # Closing checkpoints: at a set place of the run, not when the collector comes by.
        self._closing.callback(registry.dispose)
        return registry

    @cached_property
    def _audit(self) -> AuditLog:
        from vault_svc.adapters.audit.jsonl import JsonlAudit
        from vault_svc.adapters.clock import SystemClock

        return JsonlAudit(
            self.settings.inside("audit"),
            self._host_keys,
            SystemClock(),
            self._registry.audit_head,
            segment_bytes=self.settings.audit_segment_bytes,
            segments_kept=self.settings.audit_segments_kept,
            reserve_bytes=self.settings.audit_reserve_bytes,
            lock_timeout_seconds=self.settings.lock_timeout_seconds,
        )

    @cached_property
    def _credentials(self) -> CredentialStore:
        from vault_svc.adapters.credentials.store import UriCredentials

        return UriCredentials()

    @cached_property
    def _host_keys(self) -> HostKeys:
        from vault_svc.adapters.credentials.hostkeys import StoredHostKeys

        return StoredHostKeys(self._credentials, self.settings.host_key)

    @cached_property
    def _delivery(self) -> Delivery:
        from vault_svc.adapters.delivery import ConfinedDelivery

        made = ConfinedDelivery(
            self.settings.jail_root_base,
            state_dir=self.settings.daemon_data_dir,
            walk=self.settings.walk,
            allow_walk_fallback=self.settings.allow_walk_fallback,
            create_parents=self.settings.create_parents,
            second_layer=self.settings.second_layer,
            memory_base=self.settings.memory_base,
        )
        self._walk = made.walk
        self._second_layer, self._no_second_layer = made.second_layer, made.no_second_layer
        return made

    @cached_property
    def _memory(self) -> HostMemory:
        from vault_svc.adapters.memory import HostMemory

        return HostMemory(self.settings.memory_base, self.settings.memory_bytes)

    def _shown_memory(self, jail: str) -> str:
        """Return what an engine is to mount for a jail: its row's memory, "" for none."""
        from vault_svc.domain import delivered

        row = self._registry.by_jail(self.settings.host, jail)
        root = delivered.memory_of(row) if row else ""
        return self._memory.shown(root or self._memory.path(jail))
