"""Secrets in memory, in podman's containers: nothing of them on a disk, and gone when revoked."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.hook.podman import Podman
from tests.hook.test_podman import podman
from tests.kit import engines
from vault_svc.adapters.jails.podman import PodmanEngine
from vault_svc.errors import ColibriError

__all__ = ["podman"]
pytestmark = [pytest.mark.root, pytest.mark.xdist_group("podman")]

VALUE = "sk-live-0123456789"


@pytest.fixture
def memory(podman, state_dir):
    """Podman, and a place for memory that is empty afterwards."""
    base = state_dir / "memory"
    podman.cli.settings["COLIBRI_MEMORY_BASE"] = str(base)
    podman.cli.must("hook", "uninstall", "podman", "--directory", str(podman.hooks))
    podman.cli.must("hook", "install", "podman", "--directory", str(podman.hooks))
    yield base
    for each in base.glob("*"):
        subprocess.run(["umount", str(each)], check=False)


def container(podman: Podman, memory: Path, *command: str, options: tuple[str, ...] = ()) -> None:
    podman.cli.must("secret", "set", "acme", "API_KEY", stdin=VALUE.encode())
    podman.cli.must("secret", "set", "acme", "KEY", stdin=b"k")
    mark = "--annotation=colibri.jail=acme"
    made = podman("create", "--name=acme", engines.IMAGE)
    assert made.returncode == 0, made.stderr
    register = ("register-tenant", "acme", "--engine=podman", "--delivery=tmpfs")
    podman.cli.must(*register)
    podman("rm", "acme")
    mount = f"--mount=type=bind,source={memory}/acme,destination=/run/colibri"
    line = ["create", "--name=acme", mark, mount, "--user=1000:1000", *options, engines.IMAGE]
    made = podman(*line, *command)
    assert made.returncode == 0, made.stderr


def on_disk(podman: Podman) -> list[str]:
    ran = subprocess.run(
        ["grep", "-rla", VALUE, "--exclude-dir=memory", str(podman.top.parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.stdout.split()


@pytest.mark.parametrize(
    "options", [(), ("--uidmap=0:100000:65536", "--gidmap=0:100000:65536")], ids=["plain", "ids"]
)
def test_the_first_instruction_finds_its_secrets_in_memory_and_no_disk_has_them(
    podman, memory, options
):
    container(podman, memory, "/bin/sh", "-c", "cat /run/colibri/.env", options=options)
    ran = podman.start()
    assert ran.returncode == 0, ran.stderr
    assert VALUE in ran.stdout
    assert on_disk(podman) == []
    podman.cli.must("revoke", "acme")
    assert list((memory / "acme").iterdir()) == []
    assert podman.start().returncode != 0
    podman.cli.must("offboard", "acme")
    assert list(memory.iterdir()) == []


def test_a_container_that_has_not_mounted_it_does_not_start(podman, memory):
    container(podman, memory, "/bin/echo", "started")
    podman("rm", "acme")
    line = ("create", "--name=acme", "--annotation=colibri.jail=acme", engines.IMAGE)
    assert podman(*line, "/bin/echo", "started").returncode == 0
    ran = podman.start()
    assert ran.returncode != 0
    assert "shadowed: the jail has not mounted its memory at '/run/colibri'" in ran.stderr
    assert "start it again" in ran.stderr
    assert "unmount it there" not in ran.stderr  # no mount of the jail's own hides it
    assert "started" not in ran.stdout


def test_a_stopped_container_made_without_it_is_not_called_delivered(podman, memory):
    podman.cli.must("secret", "set", "acme", "API_KEY", stdin=VALUE.encode())
    assert podman("create", "--name=acme", engines.IMAGE).returncode == 0
    podman.cli.must("register-tenant", "acme", "--engine=podman")
    wanted = f"--mount=type=bind,source={memory}/acme,destination=/run/colibri"
    told = podman.cli.must("update-tenant", "acme", "--delivery", "tmpfs").stderr
    assert (told.count("warning:"), wanted in told) == (1, True)
    for command in ("provision", "verify"):
        refused = podman.cli.run(command, "acme").error
        assert (refused["code"], wanted in refused["hint"]) == ("shadowed", True)
    assert podman.cli.run("provision", "acme", "--dry-run").error["code"] == "shadowed"
    assert list((memory / "acme").iterdir()) == []
    podman("rm", "acme")
    assert podman("create", "--name=acme", wanted, engines.IMAGE).returncode == 0
    podman.cli.must("provision", "acme")
    podman.cli.must("verify", "acme")
    podman("rm", "acme")
    assert podman("create", "--name=acme", engines.IMAGE).returncode == 0
    podman.cli.must("revoke", "acme")  # whatever the container was made with
    assert list((memory / "acme").iterdir()) == []


def test_a_spawner_cannot_name_anothers_memory_as_a_root(podman, memory):
    container(podman, memory, "/bin/echo", "started")
    assert podman("create", "--name=beta", engines.IMAGE).returncode == 0
    podman.cli.must("secret", "set", "beta", "API_KEY", stdin=b"other")
    podman.cli.must("register-tenant", "beta", "--engine=podman", "--env-path=/.env")
    ran = podman.cli.run("hook", "run", "--jail", "beta", "--root", str(memory / "acme"))
    assert ran.error["code"] == "jail_root_not_allowed"
    assert list((memory / "acme").iterdir()) == []


def test_a_mount_of_the_containers_own_over_it_is_shadowed(podman, memory):
    container(podman, memory, "/bin/echo", "started", options=("--tmpfs=/run/colibri/x",))
    ran = podman.start()
    assert ran.returncode != 0
    assert "shadowed" in ran.stderr


def test_while_a_container_reads_on_it_is_not_revoked(podman, memory):
    """The host's side went, the container's did not."""
    container(podman, memory, "/bin/sh", "-c", "echo up; exec sleep 60")
    podman.cli.must("secret", "list", "acme")
    assert podman("start", "acme").returncode == 0
    podman.cli.must("verify", "acme")
    subprocess.run(["umount", str(memory / "acme")], check=True)
    ran = podman.cli.run("revoke", "acme")
    assert ran.error["code"] == "shadowed"
    assert VALUE in podman("exec", "acme", "cat", "/run/colibri/.env").stdout
    (row,) = podman.cli.must("list-tenants", "--json").json["items"]
    assert row["status"] == "suspended"
    podman("stop", "--time=0", "acme")
    podman.cli.must("revoke", "acme")


def test_an_engine_that_does_not_answer_proves_no_removal(podman, memory, monkeypatch):
    def silent(*_):
        raise ColibriError("engine_failed", "it does not answer")

    container(podman, memory, "/bin/true")
    podman.cli.must("provision", "acme")
    monkeypatch.setattr(PodmanEngine, "root_of", silent)
    assert podman.cli.run("revoke", "acme").error["code"] == "engine_failed"
    assert list((memory / "acme").iterdir()) == []
    (row,) = podman.cli.must("list-tenants", "--json").json["items"]
    assert row["status"] == "suspended"
    monkeypatch.undo()
    podman.cli.must("revoke", "acme")


def test_whose_a_stopped_containers_file_is_only_its_own_users_tell(podman, memory):
    maps = ("--uidmap=0:100000:65536", "--gidmap=0:100000:65536")
    container(podman, memory, "/bin/cat", "/run/colibri/.env", options=maps)
    assert podman.cli.run("provision", "acme").error["code"] == "jail_not_running"
    assert list((memory / "acme").iterdir()) == []
    assert VALUE in podman.start().stdout


def test_a_stopped_containers_secrets_are_rotated_and_revoked_all_the_same(podman, memory):
    container(podman, memory, "/bin/cat", "/run/colibri/.env")
    podman.cli.must("provision", "acme")
    podman.cli.must("secret", "set", "acme", "API_KEY", stdin=b"second")
    podman.cli.must("provision", "acme")
    assert "second" in podman.start().stdout
    podman.cli.must("verify", "acme")
    podman.cli.must("suspend", "acme")
    assert list((memory / "acme").iterdir()) == []
