"""A database whose logins are leased, in the double; tests/live/vault has a real one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.kit.vault import World

LIFE, LONGEST = 3600, 86_400
SHORT, SHORT_LONGEST = 4, 6


@dataclass
class Bank:
    """Paths that lease, at mounts of their own: `app` and `short` logins, `web` certificates."""

    world: World
    mount: str
    pki: str

    def path(self, role: str = "app") -> str:
        return f"{self.mount}/creds/{role}"

    @property
    def certificates(self) -> str:
        return f"{self.pki}/issue/web"

    def opened(self) -> Bank:
        """Make the mounts."""
        state = self.world.server.state
        state.leasing[self.mount] = {
            "creds/app": {"kind": "database", "ttl": LIFE, "longest": LONGEST},
            "creds/short": {"kind": "database", "ttl": SHORT, "longest": SHORT_LONGEST},
        }
        state.leasing[self.pki] = {"issue/web": {"kind": "pki", "ttl": 600}}
        return self

    def works(self, user: str, password: str) -> bool:
        """Say whether a login is good now."""
        del password
        return user in self.users()

    def users(self) -> set[str]:
        """Return the leased accounts that are there."""
        mine = f"{self.mount}/"
        leases = self.world.server.state.leases
        return {lease.user for lease_id, lease in leases.items() if lease_id.startswith(mine)}

    def fail(self) -> None:
        """Let the database behind the server answer nobody."""
        self._roles()["creds/app"]["broken"] = True

    def heal(self) -> None:
        self._roles()["creds/app"]["broken"] = False

    def _roles(self) -> dict[str, Any]:
        return self.world.server.state.leasing[self.mount]
