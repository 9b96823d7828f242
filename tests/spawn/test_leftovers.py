"""What a killed agent left: nobody else's jail goes with it, and it is in nobody else's way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.cli import Cli
from tests.spawn.test_spawn import acme, spawn, started
from vault_svc.adapters.spawns import FileSpawnRecords
from vault_svc.errors import ColibriError
from vault_svc.hazmat import trees
from vault_svc.ports.spawning import Passing

__all__ = ["acme"]
pytestmark = pytest.mark.xdist_group("spawn")

LONG = ("/bin/sh", "-c", "echo up; exec sleep 60")


@pytest.fixture
def left(acme: Cli) -> Cli:
    """acme's agent and its colibri were killed; the jail is there still."""
    agent = started(acme, *LONG)
    agent.kill()
    agent.communicate()
    return acme


def other(cli: Cli, tenant: str, *options: str) -> Path:
    cli.must("secret", "set", tenant, "API_KEY", stdin=b"other")
    line = ("register-tenant", tenant, "--tier", "scratch", "--env-path", "/home/app/.env")
    cli.must(*line, *options)
    return cli.jail_root(tenant) / "home/app/.env"


def record(cli: Cli, tenant: str, jail: str) -> None:
    """A record whose writer is gone."""
    records = FileSpawnRecords(f"{cli.state}/spawns", lock_timeout_seconds=1)
    with records.add(Passing(tenant, "directory", jail)):
        pass


def test_a_jail_with_an_agent_is_neither_destroyed_nor_given_away(acme):
    agent = started(acme, *LONG)
    try:
        acme.must("secret", "set", "beta", "API_KEY", stdin=b"other")
        destroyed = acme.run("jail", "destroy", "acme")
        assert (destroyed.error["code"], "agent" in destroyed.error["message"]) == (
            "jail_taken",
            True,
        )
        acme.must("offboard", "acme")
        line = ("register-tenant", "beta", "--tier", "scratch", "--jail", "acme")
        assert acme.run(*line).error["code"] == "jail_taken"
        assert acme.run("jail", "destroy", "acme").error["code"] == "jail_taken"
        assert agent.poll() is None
    finally:
        agent.terminate()
        agent.communicate(timeout=30)
    assert acme.must("jail", "list", "--json").json["items"] == []


@pytest.mark.parametrize("tenant", ["acme", "gone"])
def test_a_record_destroys_no_jail_that_is_registered_to_stay(acme, tenant):
    """Written by another colibri, or before the jail was somebody's."""
    env = other(acme, "beta", "--create-jail")
    acme.must("provision", "beta")
    record(acme, tenant, "beta")
    spawn(acme, "/bin/true").must()
    assert env.exists()
    acme.must("verify", "beta")
    assert list((acme.state / "spawns").iterdir()) == []


def test_what_cannot_be_cleared_away_stops_only_its_own_tenant(left, monkeypatch):
    other(left, "beta", "--ephemeral")
    real = trees.delete_tree

    def stuck(parent: int, name: str, path: str) -> None:
        if "/acme/" in path:
            raise ColibriError("crosses_mount", "something is mounted there")
        real(parent, name, path)

    monkeypatch.setattr(trees, "delete_tree", stuck)
    ran = left.run("spawn-agent", "beta", "--ephemeral", "--", "/bin/true")
    assert ran.status == 0, ran.stderr
    assert "warning: what an agent left in jail 'acme' stays" in ran.stderr
    assert left.run("spawn-agent", "acme", "--ephemeral", "--", "/bin/true").status != 0
    monkeypatch.undo()
    spawn(left, "/bin/true").must()
    assert list((left.state / "spawns").iterdir()) == []
