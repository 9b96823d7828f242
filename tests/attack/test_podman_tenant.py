"""A tenant whose jail is a podman container, from registration to revocation, by the commands."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import engines
from tests.kit.cli import Cli
from tests.kit.engines import OWNER
from vault_svc.adapters.delivery import ConfinedDelivery

pytestmark = [pytest.mark.attack, pytest.mark.root, pytest.mark.xdist_group("containers")]


@pytest.fixture
def tenant(state_dir: Path) -> Iterator[Cli]:
    """A registered tenant `acme`, whose container was made, and does not run."""
    with engines.place("podman", state_dir) as place:
        settings = {
            "COLIBRI_PODMAN_CONTAINERS_CONF": str(state_dir / "containers.conf"),
            "COLIBRI_PODMAN_STORAGE_CONF": str(state_dir / "storage.conf"),
            "COLIBRI_PODMAN_IMAGE": engines.IMAGE,
            "COLIBRI_JAIL_ROOT_BASE": str(place.base),
        }
        cli = Cli(state_dir, settings).ready()
        cli.must("secret", "set", "acme", "API_KEY", stdin=b"sk-live-0123456789")
        cli.must(
            *("register-tenant", "acme", "--engine", "podman", "--create-jail"),
            *("--env-path", "/home/app/.env", "--owner", f"{OWNER.uid}:{OWNER.gid}"),
        )
        yield cli


def podman(cli: Cli, *argv: str) -> None:
    env = {
        "PATH": "/usr/bin:/bin",
        "CONTAINERS_CONF": cli.settings["COLIBRI_PODMAN_CONTAINERS_CONF"],
        "CONTAINERS_STORAGE_CONF": cli.settings["COLIBRI_PODMAN_STORAGE_CONF"],
    }
    subprocess.run(["podman", *argv], env=env, check=True, capture_output=True)


def row(cli: Cli) -> dict:
    return cli.must("show-tenant", "acme", "--json").json["tenant"]


def test_root_is_open_until_delivery_and_the_file_comes_and_goes(tenant):
    assert row(tenant)["jail_root"] == ""
    assert tenant.run("provision", "acme").error["code"] == "jail_not_running"
    tenant.must("jail", "start", "acme")
    assert "delivered" in tenant.must("provision", "acme").stderr
    assert row(tenant)["jail_root"].endswith("/merged")
    assert "unchanged" in tenant.must("provision", "acme").stderr
    read = ("jail", "run", "acme", "--", "/bin/cat", "/home/app/.env")
    assert b"sk-live-0123456789" in tenant.must(*read).stdout
    tenant.must("verify", "acme")
    tenant.must("revoke", "acme")
    assert tenant.run(*read).status == 1


def test_jail_that_is_made_anew_is_delivered_to_again(tenant):
    tenant.must("jail", "start", "acme")
    tenant.must("provision", "acme")
    podman(tenant, "rm", "--force", "--time=0", "acme")
    assert tenant.run("provision", "acme").error["code"] == "jail_not_found"
    tenant.must("jail", "create", "acme", "--engine", "podman")
    tenant.must("jail", "start", "acme")
    assert "delivered" in tenant.must("provision", "acme").stderr


@pytest.mark.parametrize(
    "how", [("rename", "acme", "other"), ("rm", "--force", "--time=0", "acme")]
)
def test_jail_that_is_renamed_or_destroyed_between_proof_and_record_is_not_recorded(
    tenant, monkeypatch, how
):
    tenant.must("jail", "start", "acme")
    real = ConfinedDelivery.place

    def place(self, *argv):
        placed = real(self, *argv)
        podman(tenant, *how)
        return placed

    monkeypatch.setattr(ConfinedDelivery, "place", place)
    assert tenant.run("provision", "acme").error["code"] == "tampered"
    assert row(tenant)["status"] == "registered"
