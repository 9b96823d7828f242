"""Killed before any act: the next passes leave one good login and no other account.

Every act that changes something is a kill point: requests to the server, rows, sealed files,
audit lines, the file in the jail. The first pass after it may be `renew` or `provision`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from tests.kit.lease_server import LeaseServer
from tests.leases.conftest import Place
from vault_svc.adapters.audit.jsonl import JsonlAudit
from vault_svc.adapters.delivery import ConfinedDelivery
from vault_svc.adapters.registry.lazy import LazyRegistry
from vault_svc.adapters.registry.lease_book import RegistryLeases
from vault_svc.adapters.sources.sealed_tokens import SealedFileTokens
from vault_svc.wiring import Services

pytestmark = pytest.mark.crash

ACTS = (
    (LeaseServer, ("grant", "issue", "renew", "renew_token", "end", "end_token")),
    (RegistryLeases, ("record", "forget")),
    (SealedFileTokens, ("put", "drop")),
    (JsonlAudit, ("append",)),
    (ConfinedDelivery, ("place", "remove")),
    (LazyRegistry, ("announce", "commit", "close")),
)


class Killed(BaseException):
    """No handler of colibri's may take it for a failure."""


class Reaper:
    """Counts acts and kills just before the wanted one, which is just after the one before it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wanted = -1
        self.acts: list[str] = []
        for kind, names in ACTS:
            for name in names:
                monkeypatch.setattr(kind, name, self._watched(name, getattr(kind, name)))

    def arm(self, number: int) -> None:
        self.wanted = number
        del self.acts[:]

    def _watched(self, name: str, real: Callable) -> Callable:
        def act(*args, **named):
            self.acts.append(name)
            if len(self.acts) == self.wanted + 1:
                raise Killed
            return real(*args, **named)

        return act


def first(place: Place) -> tuple[str, ...]:
    return ("provision", "acme")


def replaced(place: Place) -> tuple[str, ...]:
    place.delivered()
    place.server.forget_lease("database/creds/app")
    return ("renew",)


def rotated(place: Place) -> tuple[str, ...]:
    place.delivered()
    place.server.renewable = False
    place.clock.turn(2400)
    return ("renew",)


def redelivered(place: Place) -> tuple[str, ...]:
    place.delivered()
    place.file.unlink()
    return ("provision", "acme")


def changed(place: Place) -> tuple[str, ...]:
    place.delivered()
    place.must("secret", "set", "acme", "API_KEY", stdin=b"second-value")
    return ("provision", "--all")


def revoked(place: Place) -> tuple[str, ...]:
    place.delivered()
    return ("revoke", "acme")


def sweep(fresh: Callable[[], Place], reaper: Reaper, scenario, recover) -> int:
    """Kill before every act until a run has no such act; return how many."""
    number = 0
    while True:
        place = fresh()
        command = scenario(place)
        reaper.arm(number)
        place.run(*command)
        told = list(reaper.acts)
        reaper.arm(-1)
        try:
            recover(place)
        except AssertionError as error:
            raise AssertionError(f"killed before act {number} of {told}: {error}") from error
        if len(told) <= number:
            return number
        number += 1


@pytest.fixture
def fresh(place, tmp_path, monkeypatch):
    """The host as it was before the first delivery, with a new server; the jail stays."""
    kept, jails = tmp_path / "kept", shutil.ignore_patterns("jails")
    shutil.copytree(place.cli.state, kept, ignore=jails)

    def again() -> Place:
        for entry in place.cli.state.iterdir():
            if entry.name != "jails":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        shutil.copytree(kept, place.cli.state, dirs_exist_ok=True)
        for left in place.file.parent.iterdir():
            left.unlink()
        place.server = LeaseServer(place.clock)
        monkeypatch.setattr(Services, "_lease_source", place.server)
        return place

    return again


def one_good_login(place: Place, first_pass: tuple[str, ...]) -> None:
    place.run(*first_pass)
    if place.file.exists() and "DB_USER" in place.file.read_text():
        assert place.is_good(), f"a dead login is left after {first_pass}"
    place.must("provision", "acme")
    place.must("renew")
    assert place.server.accounts == {place.values["DB_USER"]}, "accounts that nobody uses"
    assert place.values["DB_PASSWORD"] in place.server.every_value
    assert len(place.rows("leases")) == 1
    tokens = len(place.rows("lease_tokens"))
    assert tokens == 1, f"{tokens} tokens are recorded"
    used = {lease.accessor for lease in place.server.leases.values()}
    assert used <= {row[0] for row in place.rows("lease_tokens")}


def nothing_left(place: Place, first_pass: tuple[str, ...]) -> None:
    place.run(*first_pass)
    place.must("revoke", "acme")
    assert not place.file.exists()
    assert place.server.accounts == set()
    assert place.rows("leases") == place.rows("lease_tokens") == []


@pytest.mark.parametrize(
    ("scenario", "first_pass"),
    [
        (first, ("renew",)),
        (first, ("provision", "acme")),
        (replaced, ("renew",)),
        (rotated, ("provision", "acme")),
        (redelivered, ("renew",)),
        (changed, ("renew",)),
    ],
)
def test_killed_anywhere_one_good_login_is_left(
    fresh, monkeypatch, scenario, first_pass, record_property
):
    reaper = Reaper(monkeypatch)
    points = sweep(fresh, reaper, scenario, lambda place: one_good_login(place, first_pass))
    record_property("kill points", points)
    assert points >= 4


def test_killed_anywhere_in_a_revocation_nothing_is_left(fresh, monkeypatch, record_property):
    reaper = Reaper(monkeypatch)
    points = sweep(fresh, reaper, revoked, lambda place: nothing_left(place, ("renew",)))
    record_property("kill points", points)
    assert points >= 8


def test_a_token_that_nobody_recorded_holds_no_lease_and_lapses(place, monkeypatch):
    """Killed between the server's answer and the row: nothing was asked for with that token."""
    real = RegistryLeases.record

    def killed(self, leases=(), tokens=()):
        if tokens:
            raise Killed
        real(self, leases, tokens)

    monkeypatch.setattr(RegistryLeases, "record", killed)
    assert place.run("provision", "acme").error["code"] == "internal"
    monkeypatch.setattr(RegistryLeases, "record", real)
    place.must("provision", "acme")
    assert len(place.server.tokens) == 2
    for _ in range(40):
        place.clock.turn(2400)
        place.must("renew")
    assert place.is_good()
    assert len(place.server.tokens) == 1
