"""The hook in podman's containers: podman calls it by its hooks.d file, nobody else delivers."""

from __future__ import annotations

import pytest

from tests.hook.podman import VALUE, hooked
from tests.kit import engines

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("podman")]

TRAPS = ("podman", "runc", "crun", "conmon")


@pytest.fixture
def podman(state_dir):
    with hooked(state_dir) as made:
        yield made


def test_the_first_instruction_of_the_agent_finds_its_secrets(podman):
    podman.container("/bin/cat", "/home/app/.env")
    ran = podman.start()
    assert ran.returncode == 0, ran.stderr
    assert f"API_KEY={VALUE}" in ran.stdout.replace("'", "").replace('"', "")
    podman.cli.must("audit", "verify")
    (row,) = podman.cli.must("list-tenants", "--json").json["items"]
    assert (row["status"], row["generation"]) == ("active", 1)


def test_a_container_whose_delivery_fails_does_not_start(podman):
    podman.container("/bin/echo", "started")
    identity = podman.cli.state / "credentials/embedded.age"
    lost = identity.rename(identity.with_name("lost"))
    ran = podman.start()
    assert ran.returncode != 0
    assert "started" not in ran.stdout
    assert "credential_missing" in ran.stderr
    lost.rename(identity)
    assert podman.start().stdout == "started\n"


def test_the_hook_asks_podman_nothing(podman, state_dir):
    """Podman holds its lock until the hook has answered: to ask it would be a deadlock."""
    traps, note = state_dir / "traps", state_dir / "sprung"
    traps.mkdir()
    for name in TRAPS:
        trap = traps / name
        trap.write_text(f"#!/bin/sh\necho {name} >>{note}\nexit 1\n")
        trap.chmod(0o755)
    file = podman.hooks / "colibri-hook.json"
    whole = file.read_text()
    assert '"env": [' in whole
    file.write_text(whole.replace('"env": [', f'"env": ["PATH={traps}",'))
    podman.container("/bin/cat", "/home/app/.env")
    assert VALUE in podman.start().stdout
    assert not note.exists()


def test_a_container_with_users_of_its_own_reads_its_file(podman):
    maps = ("--uidmap=0:100000:65536", "--gidmap=0:100000:65536")
    podman.container("/bin/sh", "-c", "cat /home/app/.env", options=maps)
    ran = podman.start()
    assert VALUE in ran.stdout, ran.stderr


def test_a_volume_over_the_place_is_shadowed_and_nothing_starts(podman):
    podman.container("/bin/echo", "started", options=("--tmpfs=/home/app",))
    ran = podman.start()
    assert ran.returncode != 0
    assert "shadowed" in ran.stderr
    assert "started" not in ran.stdout


def test_a_container_without_the_annotation_is_none_of_its_business(podman):
    podman.cli.settings["COLIBRI_UNREGISTERED_JAILS"] = "refuse"
    ran = podman("run", "--rm", engines.IMAGE, "/bin/echo", "started")
    assert ran.stdout == "started\n", ran.stderr
    assert "deliver" not in podman.cli.must("audit", "tail").text


def test_the_way_out_of_a_stopped_container_that_may_not_start_is_told_and_works(podman):
    """Its file is on a disk that nothing shows, and the hook refuses a suspended tenant's start."""
    podman.container("/bin/cat", "/home/app/.env")
    assert VALUE in podman.start().stdout
    for command in ("suspend", "revoke", "offboard"):
        refused = podman.cli.run(command, "acme").error
        assert refused["code"] == "jail_not_running"
        assert "remove the jail by its engine's own command" in refused["hint"]
    assert "tenant_suspended" in podman.start().stderr
    assert podman("rm", "acme").returncode == 0
    podman.cli.must("offboard", "acme")
