"""The hook in podman's containers: podman calls it by its hooks.d file, nobody else delivers."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit import engines
from tests.kit.cli import Cli

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("podman")]

VALUE = "sk-live-0123456789"
TRAPS = ("podman", "runc", "crun", "conmon")


@dataclass
class Podman:
    """A podman of its own with the hook installed, and a colibri that knows it."""

    top: Path
    cli: Cli

    @property
    def hooks(self) -> Path:
        return self.top / "hooks.d"

    def __call__(self, *argv: str, seconds: float = 90) -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.top),
            "CONTAINERS_CONF": str(self.top / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.top / "storage.conf"),
        }
        return subprocess.run(
            ["podman", "--log-level=error", f"--hooks-dir={self.hooks}", *argv],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def container(self, *command: str, options: tuple[str, ...] = (), jail: str = "acme") -> None:
        """Make a container whose agent is command, and register its tenant."""
        mark = f"--annotation=colibri.jail={jail}"
        line = ["create", "--name=acme", mark, "--user=1000:1000", *options, engines.IMAGE]
        made = self(*line, *command)
        assert made.returncode == 0, made.stderr
        self.cli.must("secret", "set", "acme", "API_KEY", stdin=VALUE.encode())
        self.cli.must("register-tenant", "acme", "--engine=podman", "--env-path=/home/app/.env")

    def start(self) -> subprocess.CompletedProcess[str]:
        return self("start", "--attach", "acme")


@pytest.fixture
def podman(state_dir):
    top = state_dir / "podman"
    top.mkdir(mode=0o711)
    state_dir.chmod(0o711)
    with contextlib.ExitStack() as held:
        place = held.enter_context(engines.podman(top))
        settings = {
            "COLIBRI_JAIL_ROOT_BASE": f"{state_dir}/state/jails:{place.base}",
            "COLIBRI_PODMAN_CONTAINERS_CONF": str(top / "containers.conf"),
            "COLIBRI_PODMAN_STORAGE_CONF": str(top / "storage.conf"),
        }
        made = Podman(top, Cli(state_dir, settings).ready())
        made.cli.must("hook", "install", "podman", "--directory", str(made.hooks))
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
