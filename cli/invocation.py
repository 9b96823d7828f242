"""What one run of the command shares: settings and services, built when first asked for."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vault_svc.settings import Settings
    from vault_svc.wiring import Services


class Session:
    """One invocation."""

    def __init__(self, config_file: str | None = None, verbose: bool = False) -> None:
        """Take what stands before every command."""
        self.config_file = config_file
        self.verbose = verbose

    @cached_property
    def settings(self) -> Settings:
        """The settings, read once."""
        from vault_svc.config import load

        return load(os.environ, self.config_file)

    @cached_property
    def services(self) -> Services:
        """The services over the configured adapters."""
        from vault_svc.wiring import Services

        return Services(self.settings)

    def close(self) -> None:
        """End what a run holds open."""
        if "services" in vars(self):
            self.services.close()
