"""The hook in an ordinary user's podman: in a user namespace that hides who owns `/`.

The user, its numbers and its podman are made for the test and gone after it. The account may not
enter the checkout, so it sees it through a bind mount, run by the system's interpreter.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hook import containers
from tests.kit import engines
from tests.kit.places import private_directory

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("podman")]

TREE = Path(__file__).parents[2]
VALUE = "sk-live-0123456789"
SEES = "id -u; ls -ln /home/app/.env; cat /home/app/.env"
_NEEDED = ("podman", "runc", "newuidmap", "useradd", "/usr/bin/python3")


@dataclass
class Account:
    """An ordinary user with a colibri, a podman and a container of its own."""

    name: str
    home: Path

    @property
    def jail(self) -> Path:
        return self.home / "jails/acme"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.home}/venv/bin:/usr/bin:/bin:/usr/sbin",
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.home / "run"),
            "COLIBRI_CONFIG": os.devnull,
            "COLIBRI_DAEMON_DATA_DIR": str(self.home / "state"),
            "COLIBRI_JAIL_ROOT_BASE": str(self.home / "jails"),
        }

    def __call__(
        self, *argv: str, stdin: str = "", **more: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            env=self.environment | more,
            cwd=self.home,
            user=self.name,
            group=self.name,
            extra_groups=(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def must(self, *argv: str, stdin: str = "", **more: str) -> str:
        done = self(*argv, stdin=stdin, **more)
        assert done.returncode == 0, (argv, done.stderr)
        return done.stdout

    def podman(self, *argv: str) -> subprocess.CompletedProcess[str]:
        options = ("--log-level=error", "--cgroup-manager=cgroupfs", "--runtime=runc")
        return self("podman", *options, f"--hooks-dir={self.home}/hooks", *argv)

    def container(self, *command: str) -> None:
        self.podman("rm", "--force", "--time=0", "acme")
        mark = "--annotation=colibri.jail=acme"
        line = ["create", "--network=none", "--name=acme", mark, "--rootfs", str(self.jail)]
        made = self.podman(*line, *command)
        if made.returncode:
            pytest.skip(f"an ordinary user's podman cannot be used here: {made.stderr[-200:]}")

    def with_a_tenant(self) -> None:
        """Have a container whose agent looks at its secrets, its tenant, and the hook."""
        self.must("colibri", "init")
        self.must("colibri", "secret", "set", "acme", "API_KEY", stdin=VALUE)
        self.container("/bin/sh", "-c", SEES)
        register = ("register-tenant", "acme", "--engine=podman", "--env-path=/home/app/.env")
        self.must("colibri", *register, "--owner=1000:1000")
        self.must("colibri", "hook", "install", "podman", "--directory", f"{self.home}/hooks")

    @property
    def way(self) -> str:
        """What the installed hook's file says of the directories above."""
        whole = json.loads((self.home / "hooks/colibri-hook.json").read_text())
        (found,) = [e for e in whole["hook"]["env"] if e.startswith("COLIBRI_KNOWN_WAY=")]
        return found.partition("=")[2]

    def unshared(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return self("podman", "unshare", "colibri", *argv, COLIBRI_KNOWN_WAY=self.way)


@pytest.fixture
def account() -> Iterator[Account]:
    if not all(map(shutil.which, _NEEDED)) or not engines.static_busybox():
        pytest.skip("an ordinary user's podman: it, uidmap or busybox-static is not installed")
    name = f"colibri-t{os.getpid() % 100_000}"
    with contextlib.ExitStack() as held:
        top = held.enter_context(private_directory())
        top.chmod(0o755)
        made = Account(name, top / "home")
        _run("useradd", "--create-home", "--home-dir", str(made.home), name)
        held.callback(
            subprocess.run, ["userdel", "--force", name], check=False, capture_output=True
        )
        held.callback(_cleared, made)
        _install(made, top, held)
        yield made


def _install(made: Account, top: Path, held: contextlib.ExitStack) -> None:
    (top / "tree").mkdir()
    _run("mount", "--bind", str(TREE), str(top / "tree"))
    held.callback(_run, "umount", "--lazy", str(top / "tree"))
    packages = top / "tree" / Path(sysconfig.get_paths()["purelib"]).relative_to(TREE)
    version = made.must("/usr/bin/python3", "-c", "import sys; print(*sys.version_info[:2])")
    if tuple(map(int, version.split())) != sys.version_info[:2]:
        pytest.skip("the system's interpreter is of another version than the suite's")
    made.must("/usr/bin/python3", "-m", "venv", "--without-pip", "venv")
    (site,) = made.home.glob("venv/lib/python3*/site-packages")
    (site / "colibri.pth").write_text(f"{packages}\n{top / 'tree'}\n")
    command = made.home / "venv/bin/colibri"
    command.write_text(f"#!{made.home}/venv/bin/python\nfrom cli.start import main\nmain()\n")
    command.chmod(0o755)
    made.must("mkdir", "-m", "700", "run", "hooks")
    made.must("mkdir", "-p", "jails/acme/home/app")
    made.must("chmod", "-R", "go-w,a+rX", "jails")
    containers.furnish(made.jail)
    _run("chown", "-R", f"{made.name}:{made.name}", str(made.jail))


def _cleared(made: Account) -> None:
    made.podman("rm", "--all", "--force", "--time=0")
    subprocess.run(["pkill", "-KILL", "-u", made.name], check=False)


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (argv, done.stderr)


def test_an_ordinary_users_container_starts_with_its_secrets_or_not_at_all(account):
    """Hook, then verify, rotation, revocation and the end from within podman's own namespace."""
    account.with_a_tenant()
    started = account.podman("start", "--attach", "acme")
    assert started.returncode == 0, started.stderr
    assert "-rw-------    1 1000     1000" in started.stdout
    assert f"API_KEY={VALUE}" in started.stdout

    account.container("/bin/sh", "-c", "sleep 100")
    assert account.podman("start", "acme").returncode == 0
    assert account.unshared("verify", "acme").returncode == 0
    account.must("colibri", "secret", "set", "acme", "API_KEY", stdin="rotated")
    assert account.unshared("provision", "acme").returncode == 0
    assert "API_KEY=rotated" in account.podman("exec", "acme", "cat", "/home/app/.env").stdout
    revoked = account.unshared("revoke", "acme")
    assert revoked.returncode == 0, revoked.stderr
    assert not list(account.jail.glob("home/app/.*"))

    account.container("/bin/sh", "-c", SEES)
    refused = account.podman("start", "--attach", "acme")
    assert refused.returncode != 0
    assert "tenant_suspended" in refused.stderr
    assert refused.stdout == ""
    account.must("colibri", "audit", "verify")


def test_a_way_that_is_another_than_at_installation_is_not_trusted(account):
    """A neighbour's directory looks like root's in there: only what was looked at outside is."""
    account.with_a_tenant()
    file = account.home / "hooks/colibri-hook.json"
    known = account.way.split(",")
    top = account.home.parent.stat()
    assert f"{top.st_dev}:{top.st_ino}" in known
    known.remove(f"{top.st_dev}:{top.st_ino}")
    file.write_text(file.read_text().replace(account.way, ",".join(known)))
    refused = account.podman("start", "--attach", "acme")
    assert refused.returncode != 0
    assert "unsafe_base" in refused.stderr
    assert not (account.jail / "home/app/.env").exists()
