"""A colibri whose leases come from a server in memory, under a clock the test turns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kit.cli import Cli, Result
from tests.kit.lease_server import LeaseServer
from tests.kit.memory import TurnableClock
from vault_svc.adapters.clock import SystemClock
from vault_svc.domain.dotenv import parse_own
from vault_svc.wiring import Services

USER, PASSWORD = "DB_USER=database/creds/app#username", "DB_PASSWORD=database/creds/app#password"


@dataclass
class Place:
    """One host, one server."""

    cli: Cli
    server: LeaseServer
    clock: TurnableClock
    file: Path

    def run(self, *argv: str, stdin: bytes = b"") -> Result:
        return self.cli.run(*argv, stdin=stdin)

    def must(self, *argv: str, stdin: bytes = b"") -> Result:
        return self.cli.must(*argv, stdin=stdin)

    @property
    def values(self) -> dict[str, str]:
        """What the tenant's file says."""
        return parse_own(self.file.read_bytes())

    def delivered(self) -> dict[str, str]:
        """Provision and return what the file says."""
        self.must("provision", "acme")
        return self.values

    def renewed(self, status: int = 0) -> dict[str, Any]:
        """Renew once and return what it says of acme."""
        done = self.run("renew", "--json")
        assert done.status == status, done.stderr
        return next(item for item in done.json["items"] if item["tenant_id"] == "acme")

    def is_good(self, values: dict[str, str] | None = None) -> bool:
        """Say whether the delivered login works."""
        return (values or self.values)["DB_USER"] in self.server.accounts

    def leases(self) -> list[dict[str, Any]]:
        return self.must("lease", "list", "--json").json["items"]

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        import sqlite3

        connection = sqlite3.connect(self.cli.state / "colibri.sqlite")
        try:
            return connection.execute(f"SELECT * FROM {table}").fetchall()
        finally:
            connection.close()

    def events(self) -> list[str]:
        return [line["event"] for line in self.must("audit", "tail", "--json").json["items"]]


@pytest.fixture
def bare(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A tenant with a static secret, and nothing mapped yet."""
    clock = TurnableClock()
    server = LeaseServer(clock)
    monkeypatch.setattr(SystemClock, "now", lambda _: clock.now())
    monkeypatch.setattr(Services, "_lease_source", server)
    return Place(cli, server, clock, cli.tenant("acme", API_KEY="static-value"))


@pytest.fixture
def place(bare: Place) -> Place:
    """The tenant with two variables of one path, not delivered yet."""
    bare.must("lease", "add", "acme", USER, PASSWORD)
    return bare
