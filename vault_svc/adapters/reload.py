"""The port `Reloader` as a program of the operator's, run on this host with nothing of ours."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from vault_svc.errors import ColibriError
from vault_svc.ports.reloader import Change

_MAX_OUTPUT = 64 * 1024


@dataclass(frozen=True, slots=True)
class ReloadProgram:
    """Runs `path TENANT JAIL GENERATION PATH`; path is absolute, "" for none.

    It is run only while nobody but root and us can change it or replace it. It has no input, a
    PATH and nothing else in its environment, and `/` as its directory: ours may be a tenant's.
    What it leaves behind in its session ends with it, unless we are killed meanwhile.
    """

    path: str
    timeout_seconds: float

    @property
    def configured(self) -> bool:
        """Whether the setting names a program."""
        return bool(self.path)

    def unfit(self) -> str:
        """Return why it may not be run: it is not there, or others could change it."""
        from vault_svc.hazmat import hostfiles

        try:
            hostfiles.refuse_foreign_program(self.path, "helper_untrusted")
        except FileNotFoundError:
            return f"'{self.path}' is not there"
        except ColibriError as error:
            return error.message
        return "" if os.access(self.path, os.X_OK) else f"'{self.path}' is no program"

    def tell(self, change: Change, wanted: Callable[[], bool]) -> str:
        """Run it; return why it failed in words that hold nothing it printed."""
        # Most runs change nothing, or have nobody to tell.
        from vault_svc.adapters.jails.programs import SYSTEM
        from vault_svc.hazmat import proc

        if why := self.unfit():
            return why
        try:
            ran = proc.run(
                [
                    self.path,
                    change.tenant_id,
                    change.jail,
                    str(change.generation),
                    change.path,
                ],
                timeout_seconds=self.timeout_seconds,
                env={"PATH": SYSTEM},
                cwd="/",
                max_output_bytes=_MAX_OUTPUT,
                tied=True,
                wanted=wanted,
            )
        except ColibriError as error:
            return error.message
        return f"'{self.path}' ended with {ran.status}" if ran.status else ""
