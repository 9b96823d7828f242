"""Runs in the nest: systemd-nspawn@ with colibri's drop-in, and nobody else to deliver."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hook.containers import SHORT_WAY
from tests.kit import engines
from tests.kit.cli import Cli

VALUE = "sk-live-0123456789"
UNIT = "systemd-nspawn@acme.service"
SERVICE = "colibri-hook.service"
MACHINE = Path("/var/lib/machines/acme")
AGENT = "cat {path} >/seen 2>/unseen; exec sleep 1000"
FILE = ("--env-path=/home/app/.env",)
MEMORY = ("--delivery=tmpfs", "--env-path=/run/colibri/.env")


def systemctl(*argv: str) -> subprocess.CompletedProcess[str]:
    line = ["/bin/systemctl", *argv]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def acme(state_dir: Path, request):
    """A tenant of a machine whose first process reads its secrets before it does anything else."""
    options = getattr(request, "param", FILE)
    agent = AGENT.format(path=options[-1].partition("=")[2])
    template = engines.furnish(state_dir / "template", engines.OWNER)
    argv = " ".join(json.dumps(word) for word in ("/bin/sh", "-c", agent))
    (state_dir / "template.nspawn").write_text(
        f"[Exec]\nBoot=no\nParameters={argv}\nPrivateUsers=pick\n"
        "[Network]\nPrivate=yes\nVirtualEthernet=no\n"
    )
    cli = Cli(state_dir, {"COLIBRI_NSPAWN_TEMPLATE": str(template)}).ready()
    cli.must("secret", "set", "acme", "API_KEY", stdin=VALUE.encode())
    cli.must("register-tenant", "acme", "--engine=nspawn", "--create-jail", *options)
    try:
        yield cli
    finally:
        cli.run("hook", "uninstall", "nspawn")
        systemctl("daemon-reload")
        systemctl("stop", UNIT)
        systemctl("reset-failed", UNIT)
        cli.run("offboard", "acme")
        cli.run("jail", "destroy", "acme", "--engine=nspawn")
        shutil.rmtree(MACHINE, ignore_errors=True)
        Path("/etc/systemd/nspawn/acme.nspawn").unlink(missing_ok=True)


def install(cli: Cli, *options: str) -> None:
    cli.must("hook", "install", "nspawn", *options)
    assert systemctl("daemon-reload").returncode == 0


def seen() -> str:
    """Return what the machine's first process read, once it has."""
    give_up = time.monotonic() + 20
    while not (MACHINE / "unseen").exists() or not (MACHINE / "seen").exists():
        assert time.monotonic() < give_up, "the machine's agent did not run"
        time.sleep(0.05)
    time.sleep(0.2)
    return (MACHINE / "seen").read_text()


def events(cli: Cli) -> list[str]:
    return [line["event"] for line in cli.must("audit", "tail", "--json").json["items"]]


def said() -> str:
    line = ["/bin/journalctl", "--no-pager", "-o", "cat", "-u", UNIT]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False).stdout


def test_the_service_s_unit_starts_it_and_again_after_it_was_killed(acme):
    root = f"{MACHINE}"
    line = [sys.executable, "-I", "-S", str(SHORT_WAY), str(acme.state / "hooks"), "60"]
    line += ["/nowhere/colibri", "hook", "run", "--jail", "acme", "--root", root]

    def is_answered() -> bool:
        done = subprocess.run(line, env=acme.environment, capture_output=True, check=False)
        return done.returncode == 0

    acme.must("hook", "install", "service")
    try:
        assert systemctl("daemon-reload").returncode == 0
        assert systemctl("start", SERVICE).returncode == 0
        until(is_answered)
        assert systemctl("kill", "--signal=KILL", SERVICE).returncode == 0
        until(lambda: not is_answered())
        until(is_answered)
    finally:
        systemctl("stop", SERVICE)
        acme.run("hook", "uninstall", "service")


def until(true: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 20
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_the_machine_starts_with_its_secrets_in_place_by_the_drop_in_alone(acme):
    install(acme)
    started = systemctl("start", UNIT)
    assert started.returncode == 0, started.stderr + said()
    assert VALUE in seen()
    assert events(acme)[-2:] == ["will_deliver", "delivered"]


@pytest.mark.parametrize("acme", [MEMORY], indirect=True, ids=["memory"])
def test_a_machine_with_users_of_its_own_finds_its_secrets_in_memory(acme):
    install(acme)
    started = systemctl("start", UNIT)
    assert started.returncode == 0, started.stderr + said()
    assert VALUE in seen()
    acme.must("verify", "acme")
    acme.must("secret", "set", "acme", "API_KEY", stdin=b"second")
    acme.must("provision", "acme")
    memory = Path("/run/colibri-memory/acme")
    assert "second" in (memory / ".env").read_text()
    acme.must("revoke", "acme")
    assert list(memory.iterdir()) == []
    assert not list(MACHINE.glob("run/colibri/*"))


def test_without_the_drop_in_the_same_machine_starts_with_none(acme):
    """The control: what the machine saw came by the drop-in, and by nothing else."""
    started = systemctl("start", UNIT)
    assert started.returncode == 0, started.stderr
    assert seen() == ""
    assert "delivered" not in events(acme)


def test_a_machine_whose_delivery_fails_does_not_start(acme):
    install(acme)
    (acme.state / "credentials/embedded.age").unlink()
    assert systemctl("start", UNIT).returncode != 0
    assert systemctl("is-active", UNIT).stdout.strip() in {"failed", "inactive"}
    assert not (MACHINE / "unseen").exists()
    assert not (MACHINE / "home/app/.env").exists()
    names = subprocess.run(["/bin/machinectl", "list"], capture_output=True, check=False).stdout
    assert b"acme" not in names


def test_continue_starts_it_without_secrets_and_records_that(acme):
    install(acme, "--on-provision-failure=continue")
    acme.must("suspend", "acme")
    started = systemctl("start", UNIT)
    assert started.returncode == 0, started.stderr
    assert seen() == ""
    assert events(acme)[-1] == "started_regardless"


def test_a_machine_without_a_tenant_starts(acme):
    install(acme)
    acme.must("offboard", "acme")
    assert systemctl("start", UNIT).returncode == 0
    assert seen() == ""
