"""The operator's program is told of what changed, once, without a value; the delivery stands."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.kit.cli import INSTALLED, Cli
from vault_svc.adapters.registry.lazy import LazyRegistry
from vault_svc.adapters.reload import ReloadProgram


class Told:
    """A reload command that writes down what it was given."""

    def __init__(self, cli: Cli) -> None:
        self.path = cli.home / "reload"
        self.log = cli.home / "told"
        self.script(f'echo "$@" >>{self.log}; env >>{self.log}.env')
        cli.settings["COLIBRI_RELOAD_COMMAND"] = str(self.path)

    def script(self, body: str) -> None:
        self.path.write_text(f"#!/bin/sh\n{body}\n")
        self.path.chmod(0o755)

    @property
    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def told(cli: Cli) -> Told:
    for name in ("acme", "beta"):
        cli.tenant(name)
    return Told(cli)


def _events(cli: Cli) -> list[tuple[str, str]]:
    lines = (cli.state / "audit/audit.jsonl").read_text().splitlines()
    said = [json.loads(line) for line in lines]
    return [(each["event"], each["tenant"]) for each in said if "reload" in each["event"]]


def test_it_is_told_once_of_each_change_and_of_nothing_else(cli: Cli, told: Told) -> None:
    cli.must("provision", "acme", "--dry-run")
    assert told.lines == []
    cli.must("provision", "--all")
    path = "/home/app/.env"
    assert sorted(told.lines) == [f"acme acme 1 {path}", f"beta beta 1 {path}"]
    cli.must("provision", "--all")
    cli.must("verify", "--all")
    assert len(told.lines) == 2
    cli.must("secret", "set", "acme", "API_KEY", stdin=b"sk-live-rotated")
    cli.must("provision", "--all")
    assert told.lines[2:] == [f"acme acme 2 {path}"]
    assert _events(cli) == [("reloaded", "acme"), ("reloaded", "beta"), ("reloaded", "acme")]
    environment = Path(f"{told.log}.env").read_text()
    assert "sk-live" not in environment
    assert "COLIBRI" not in environment
    cli.must("audit", "verify")


def test_what_a_crashed_run_wrote_is_told_of_by_the_next(
    cli: Cli, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LazyRegistry, "commit", interrupted)
        assert cli.run("provision", "acme").status == 130
    assert told.lines == []
    assert cli.must("provision", "acme", "--json").json["result"] == "adopted"
    assert told.lines == ["acme acme 1 /home/app/.env"]


def test_its_directory_is_no_tenants(cli: Cli, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    told.script(f"pwd >>{told.log}")
    monkeypatch.chdir(cli.jail_root("acme"))
    cli.must("provision", "acme")
    assert told.lines == ["/"]


def test_one_that_hangs_holds_no_lock_and_delays_nobody(cli: Cli, told: Told) -> None:
    """While acme's runs, beta is delivered to and acme itself can be taken away."""
    told.script(f'echo "$1" >>{told.log}; case $1 in acme) sleep 60;; esac')
    cli.settings |= {"COLIBRI_RELOAD_TIMEOUT_SECONDS": "5", "COLIBRI_BATCH_SIZE": "1"}
    ours = subprocess.Popen(
        [str(INSTALLED), "provision", "--all", "--json"],
        env=cli.environment,
        stdout=subprocess.PIPE,
    )
    give_up = time.monotonic() + 4
    while told.lines != ["acme", "beta"]:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    cli.settings["COLIBRI_LOCK_TIMEOUT_SECONDS"] = "1"
    cli.must("revoke", "acme")
    assert ours.poll() is None
    items = json.loads(ours.communicate(timeout=30)[0])["items"]
    assert [item["result"] for item in items] == ["delivered", "delivered"]
    assert "did not end within 5 s" in items[0]["warnings"][0]
    assert items[1]["warnings"] == []
    cli.must("audit", "verify")


@pytest.mark.parametrize("processes", ["1", "2"])
def test_interrupted_it_ends_the_program_and_what_that_started(
    cli: Cli, told: Told, processes: str
) -> None:
    told.script(f"sleep 60 & echo $! >>{told.log}; wait")
    cli.settings |= {"COLIBRI_PROVISION_PROCESSES": processes, "COLIBRI_BATCH_SIZE": "1"}
    for name in ("gamma", "zoo"):
        cli.tenant(name)
    ours = subprocess.Popen(
        [str(INSTALLED), "provision", "--all"],
        env=cli.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    give_up = time.monotonic() + 20
    while len(told.lines) < 4:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    ours.send_signal(signal.SIGINT)
    ours.communicate(timeout=9)
    give_up = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in told.lines):
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_no_agent_is_there_to_be_told_while_its_jail_is_made(cli: Cli, told: Told) -> None:
    cli.must("hook", "run", "--jail", "acme", "--root", str(cli.jail_root("acme")))
    assert (cli.jail_root("acme") / "home/app/.env").exists()
    assert told.lines == []


@pytest.mark.parametrize(
    ("body", "why"),
    [("echo sk-live; exit 3", "ended with 3"), ("sleep 60", "did not end within 1 s")],
)
def test_what_becomes_of_it_changes_nothing_of_the_delivery(
    cli: Cli, told: Told, body: str, why: str
) -> None:
    told.script(f'case $1 in acme) {body};; esac; echo "$@" >>{told.log}')
    cli.settings["COLIBRI_RELOAD_TIMEOUT_SECONDS"] = "1"
    done = cli.must("provision", "--all", "--json")
    assert {item["result"] for item in done.json["items"]} == {"delivered"}
    warnings = {item["tenant_id"]: item["warnings"] for item in done.json["items"]}
    assert why in warnings["acme"][0]
    assert "sk-live" not in warnings["acme"][0]
    assert warnings["beta"] == []
    assert told.lines == ["beta beta 1 /home/app/.env"]
    assert sorted(_events(cli)) == [("reload_failed", "acme"), ("reloaded", "beta")]
    assert "unchanged" in cli.must("provision", "acme").stderr


def test_a_program_that_others_could_change_is_not_run(cli: Cli, told: Told) -> None:
    told.path.chmod(0o777)
    done = cli.must("provision", "acme", "--json").json
    assert "can be written to by others" in done["warnings"][0]
    told.path.chmod(0o755)
    told.path.rename(told.path.with_name("real"))
    told.path.symlink_to("real")
    done = cli.must("provision", "beta", "--json").json
    assert "is no regular file" in done["warnings"][0]
    assert told.lines == []


def test_a_program_that_is_not_there_is_a_warning_and_a_relative_one_is_refused(
    cli: Cli, told: Told
) -> None:
    told.path.unlink()
    done = cli.must("provision", "acme", "--json").json
    assert "is not there" in done["warnings"][0]
    cli.settings["COLIBRI_RELOAD_COMMAND"] = "reload"
    refused = cli.run("provision", "acme")
    assert (refused.status, refused.error["code"]) == (2, "usage")


def test_of_many_tenants_each_failure_is_a_warning_on_the_terminal_too(
    cli: Cli, told: Told
) -> None:
    told.script("exit 3")
    ran = cli.must("provision", "--all")
    assert "warning: tenant 'acme': " in ran.stderr
    assert "warning: tenant 'beta': " in ran.stderr


def test_doctor_names_a_program_that_cannot_be_run(cli: Cli) -> None:
    cli.settings["COLIBRI_RELOAD_COMMAND"] = "/nope"
    ran = cli.run("doctor")
    assert (ran.error["code"], "reload command" in ran.error["message"]) == ("usage", True)


def test_a_fault_while_it_is_told_is_words_and_no_traceback(
    cli: Cli, told: Told, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A thread would print what it raises, and that may hold a value."""

    def broken(*_: object) -> str:
        raise RuntimeError("sk-live")

    monkeypatch.setattr(ReloadProgram, "tell", broken)
    done = cli.must("provision", "acme", "--json")
    assert "RuntimeError at test_reload.py" in done.json["warnings"][0]
    assert _events(cli) == [("reload_failed", "acme")]
    assert "sk-live" not in done.text + done.stderr + "".join(capfd.readouterr())


def test_however_many_batches_few_programs_run_at_once(cli: Cli, told: Told) -> None:
    for number in range(40):
        cli.tenant(f"t{number:02}")
    cli.settings |= {"COLIBRI_BATCH_SIZE": "1", "COLIBRI_PROVISION_PROCESSES": "1"}
    told.script(f"echo $1 >>{told.log}; sleep 3")
    ours = subprocess.Popen(
        [str(INSTALLED), "provision", "--all"], env=cli.environment, stdout=subprocess.DEVNULL
    )
    most, roots = 0, [cli.jail_root(f"t{number:02}") for number in range(40)]
    while not all((root / "home/app/.env").exists() for root in roots):
        assert ours.poll() is None
    delivered_after = len(told.lines)
    while ours.poll() is None:
        most = max(most, sum(Path(f"/proc/{pid}").exists() for pid in _children(ours.pid)))
        time.sleep(0.02)
    assert (ours.returncode, len(told.lines)) == (0, 42)
    assert delivered_after < 42, "deliveries waited for programs"
    assert 2 < most <= 32


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in task.read_text().split()]
    return found
