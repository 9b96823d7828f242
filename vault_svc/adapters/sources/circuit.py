"""What keeps a refused account from being tried again: repeating it could lock it out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from vault_svc.errors import ColibriError
from vault_svc.hazmat import hostfiles
from vault_svc.ports.clock import Clock

_CODE: Final = "unsafe_base"
_MAX_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Circuit:
    """One account's circuit, a file in the data directory; hint says how to close it again."""

    data_dir: str
    file: str
    hint: str
    clock: Clock

    def refuse_open(self) -> None:
        """Raise `source_auth_failed` while it is open."""
        if state := self.state():
            raise ColibriError(
                "source_auth_failed", f"the server was not asked: {state}", hint=self.hint
            )

    def state(self) -> str:
        """Return in words what stands in the way of the next login, or nothing."""
        found = self._read()
        if not found:
            return ""
        return f"the circuit is open since {found.get('since')}: {found.get('why')}"

    def open(self, why: str) -> None:
        """Open it, for every process of this host."""
        with hostfiles.directory(self.data_dir, _CODE) as parent:
            text = json.dumps({"since": self.clock.now(), "why": why})
            hostfiles.replace_at(parent, self.file, text.encode())

    def close(self) -> None:
        """Close it: the account was proven, replaced or removed."""
        with hostfiles.directory(self.data_dir, _CODE) as parent:
            hostfiles.remove_at(parent, self.file)

    def _read(self) -> dict[str, Any]:
        try:
            with hostfiles.directory(self.data_dir, _CODE) as parent:
                found = json.loads(
                    hostfiles.read_at(parent, self.file, _CODE, max_bytes=_MAX_BYTES)
                )
        except FileNotFoundError:
            return {}
        except ValueError:
            found = None
        if not isinstance(found, dict) or not found:
            raise ColibriError(
                _CODE, f"'{self.file}' in the data directory cannot be read", hint="remove it"
            )
        return found
