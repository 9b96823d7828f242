"""What keeps a refused account from being tried again, and a slowed-down server from being asked.

A refused credential opens the circuit until the operator acts: repeating it could lock the account
out. A rate limit shuts the door for a while, for every process of this host.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from vault_svc.adapters.sources.vaultwarden.options import Options
from vault_svc.errors import ColibriError
from vault_svc.hazmat import hostfiles
from vault_svc.ports.clock import Clock

FILE: Final = "vaultwarden.circuit"
_CODE: Final = "unsafe_base"
_MAX_BYTES: Final = 4096
_LOGIN: Final = "mend the account, then colibri source test vaultwarden, or source login again"

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Breaker:
    """The circuit of this host's one account, kept in the data directory."""

    options: Options
    clock: Clock
    sleep: Callable[[float], None]

    def call(self, ask: Callable[[], Answer]) -> Answer:
        """Return ask's answer; wait and ask again while the server says to slow down.

        Raises `source_auth_failed` without asking while the circuit is open, and
        `source_rate_limited` when the next try would come later than the limit allows.
        """
        left = self.options.backoff_limit_seconds
        pause = self.options.backoff_seconds
        while True:
            left = self._wait_for_door(left)
            try:
                answer = ask()
            except ColibriError as error:
                if error.code == "source_auth_failed":
                    self._open(error)
                if error.code != "source_rate_limited":
                    raise
                # Half to three halves: processes that were refused together come back apart.
                self._shut_door(pause * (0.5 + secrets.randbelow(1001) / 1000))
                pause *= 2
            else:
                self.close()
                return answer

    def probe(self, ask: Callable[[], Answer]) -> Answer:
        """Ask once, whatever stands in the way: the operator acts; close the circuit if it works.

        A refusal opens it.
        """
        try:
            answer = ask()
        except ColibriError as error:
            if error.code == "source_auth_failed":
                self._open(error)
            raise
        self.close()
        return answer

    def close(self) -> None:
        """Close the circuit: the account was proven, replaced or removed."""
        with hostfiles.directory(self.options.data_dir, _CODE) as parent:
            hostfiles.remove_at(parent, FILE)

    def state(self) -> str:
        """Return in words what stands in the way of the next read, or nothing."""
        found = self._read()
        if found.get("state") == "open":
            return f"the circuit is open since {found.get('since')}: {found.get('why')}"
        wait = self._until(found)
        return f"the server asked to slow down; {wait:.0f} s are left" if wait > 0 else ""

    def _wait_for_door(self, left: float) -> float:
        found = self._read()
        if found.get("state") == "open":
            raise ColibriError(
                "source_auth_failed",
                f"the server was not asked: {self.state()}",
                hint=_LOGIN,
            )
        wait = self._until(found)
        if wait > left:
            raise ColibriError(
                "source_rate_limited",
                f"the server asks to slow down, for another {wait:.0f} s",
                hint="run it again then; nothing was changed",
            )
        if wait > 0:
            self.sleep(wait)
        return left - max(wait, 0.0)

    def _until(self, found: dict[str, Any]) -> float:
        until = found.get("until")
        if found.get("state") != "slow" or not isinstance(until, str):
            return 0.0
        try:
            left = (_time(until) - _time(self.clock.now())).total_seconds()
        except ValueError:
            return 0.0
        # A clock that was set back must not keep the door shut longer than we ever would.
        return min(left, 4 * self.options.backoff_limit_seconds)

    def _open(self, error: ColibriError) -> None:
        self._write({"state": "open", "since": self.clock.now(), "why": error.message})

    def _shut_door(self, seconds: float) -> None:
        until = _time(self.clock.now()) + timedelta(seconds=seconds)
        self._write({"state": "slow", "until": until.isoformat(timespec="milliseconds")})

    def _read(self) -> dict[str, Any]:
        try:
            with hostfiles.directory(self.options.data_dir, _CODE) as parent:
                found = json.loads(hostfiles.read_at(parent, FILE, _CODE, max_bytes=_MAX_BYTES))
        except FileNotFoundError:
            return {}
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ColibriError(
                _CODE, f"'{FILE}' in the data directory cannot be read", hint="remove it"
            )
        return found

    def _write(self, what: dict[str, Any]) -> None:
        with hostfiles.directory(self.options.data_dir, _CODE) as parent:
            hostfiles.replace_at(parent, FILE, json.dumps(what).encode())


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
