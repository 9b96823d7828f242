"""The hook in crun's containers: another runtime, the same contract (OCI createRuntime)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass

import pytest

from tests.hook import containers
from tests.hook.containers import Runtime
from tests.kit.cli import Cli, Result

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("runtime")]

VALUE = "sk-live-0123456789"
# crun refuses a host with both cgroup versions: it gets a view with the second alone.
VIEW = 'umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'


@dataclass
class Crun(Runtime):
    """crun without resource limits, which need a cgroup of its own."""

    program: str = "crun"

    def bundle(self, root, *argv, **changes):
        made = super().bundle(root, *argv, **changes)
        config = json.loads((made / "config.json").read_text())
        config["linux"].pop("resources", None)
        config["mounts"] = [m for m in config["mounts"] if m["destination"] != "/sys/fs/cgroup"]
        config["process"].pop("rlimits", None)  # raising them needs CAP_SYS_RESOURCE
        (made / "config.json").write_text(json.dumps(config))
        return made

    def run(self, bundle, name="t1", seconds=60):
        crun = ["crun", "--root", str(self.home), "--cgroup-manager=disabled"]
        line = [
            "unshare",
            "--mount",
            "sh",
            "-c",
            VIEW,
            "sh",
            *crun,
            "run",
            "--bundle",
            bundle,
            name,
        ]
        done = subprocess.run(
            line,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"PATH": os.environ["PATH"]},
            timeout=seconds,
            check=False,
        )
        return Result(tuple(line), done.returncode, done.stdout, done.stderr.decode())


@pytest.fixture
def acme(cli: Cli, state_dir):
    if not shutil.which("crun"):
        pytest.skip("crun is not installed")
    cli.tenant("acme", API_KEY=VALUE)
    containers.furnish(cli.state / "jails/acme/root")
    return Crun(state_dir, cli)


def test_the_first_instruction_of_the_agent_finds_its_secrets(acme):
    root = acme.cli.state / "jails/acme/root"
    ran = acme.run(acme.bundle(root, "/bin/cat", "/home/app/.env")).must()
    assert f"API_KEY={VALUE}" in ran.text.replace("'", "").replace('"', "")


def test_without_the_hook_the_same_bundle_finds_none(acme):
    root = acme.cli.state / "jails/acme/root"
    ran = acme.run(acme.bundle(root, "/bin/cat", "/home/app/.env", hooks={}))
    assert ran.status != 0
    assert "No such file" in ran.stderr
    assert ran.stdout == b""


def test_a_container_whose_delivery_fails_does_not_start(acme):
    root = acme.cli.state / "jails/acme/root"
    (acme.cli.state / "credentials/embedded.age").unlink()
    ran = acme.run(acme.bundle(root, "/bin/echo", "started"))
    assert ran.status != 0
    assert ran.stdout == b""
    assert "exit code: 6" in ran.stderr  # credential_missing; crun keeps what a hook says to itself
    assert not (root / "home/app/.env").exists()


def test_another_tenants_name_on_this_root_is_refused(acme):
    acme.cli.tenant("beta", API_KEY="the-neighbours")
    root = acme.cli.state / "jails/acme/root"
    ran = acme.run(acme.bundle(root, "/bin/echo", "started", jail="beta"))
    assert ran.status != 0
    assert "exit code: 5" in ran.stderr
    assert not (root / "home/app/.env").exists()
