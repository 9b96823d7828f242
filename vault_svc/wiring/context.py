"""The ports that every use case shares."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from vault_svc.errors import not_initialised
from vault_svc.wiring.sources import WithSources

if TYPE_CHECKING:
    from vault_svc.services.context import Context


class WithContext(WithSources):
    """The context of services over the adapters."""

    @cached_property
    def _context(self) -> Context:
        from vault_svc.adapters.clock import SystemClock
        from vault_svc.adapters.locks import FileLocks
        from vault_svc.adapters.registry.lease_book import RegistryLeases
        from vault_svc.adapters.reload import ReloadProgram
        from vault_svc.adapters.sources.sealed_tokens import SealedFileTokens
        from vault_svc.services.context import Context

        return Context(
            settings=self.settings,
            registry=self._registry,
            audit=self._audit,
            delivery=self._delivery,
            locks=FileLocks(
                self.settings.inside("provision.lock"),
                timeout_seconds=self.settings.lock_timeout_seconds,
            ),
            keys=self._host_keys,
            clock=SystemClock(),
            source=self._source,
            engine=self._engine,
            leases=RegistryLeases(self._registry),
            lease_tokens=SealedFileTokens(lambda: self._embedded.store),
            lease_source=lambda: self._lease_source,
            reloader=ReloadProgram(
                self.settings.reload_command, self.settings.reload_timeout_seconds
            ),
            memory=self._memory,
        )

    def _require_state(self) -> None:
        """Raise `usage` where there is nothing to look at, rather than show an empty list."""
        if not Path(self.settings.inside("audit")).is_dir():
            raise not_initialised(self.settings.daemon_data_dir)
