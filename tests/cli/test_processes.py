"""`provision --all` of many, shared by several processes: the same answers, rows and lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.kit.cli import INSTALLED, Cli
from vault_svc.adapters.locks import FileLocks
from vault_svc.hazmat import forked
from vault_svc.services.batch import Batch

TENANTS = 13


@pytest.fixture
def fleet(cli: Cli) -> dict[str, Path]:
    cli.settings |= {"COLIBRI_BATCH_SIZE": "2", "COLIBRI_PROVISION_PROCESSES": "3"}
    return {name: cli.tenant(name) for name in (f"t{number:02}" for number in range(TENANTS))}


def _results(cli: Cli, status: int = 0) -> dict[str, str]:
    done = cli.run("provision", "--all", "--json")
    assert done.status == status, done.stderr
    return {item["tenant_id"]: item["result"] for item in done.json["items"]}


def _events(cli: Cli) -> Counter[str]:
    lines = (cli.state / "audit/audit.jsonl").read_text().splitlines()
    return Counter(json.loads(line)["event"] for line in lines)


@pytest.fixture
def parts(monkeypatch) -> list[int]:
    """How many parts each run was cut into."""
    seen: list[int] = []
    real = forked.spread

    def spread(parts, act):
        seen.append(len(parts))
        return real(parts, act)

    monkeypatch.setattr(forked, "spread", spread)
    return seen


def test_shared_by_processes_it_is_the_same_run(cli, fleet, parts) -> None:
    assert _results(cli) == dict.fromkeys(fleet, "delivered")
    assert parts == [3]
    before = {path: path.stat() for path in fleet.values()}
    assert _results(cli) == dict.fromkeys(fleet, "unchanged")
    assert {path: path.stat() for path in fleet.values()} == before
    events = _events(cli)
    assert events["will_deliver"] == events["delivered"] == TENANTS
    assert events["unchanged_summary"] == 1
    tail = cli.must("audit", "tail", "--json").json["items"]
    assert tail[-1]["detail"] == {"unchanged": TENANTS}
    cli.must("audit", "verify")
    assert {row["generation"] for row in cli.must("list-tenants", "--json").json["items"]} == {1}


def test_nothing_of_the_registry_is_open_when_they_are_made(cli, fleet, monkeypatch) -> None:
    """SQLite would take our locks for theirs, and let another process have what they hold."""
    real, open_then = forked.spread, []

    def spread(parts, act):
        held = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
        open_then.append([path for path in held if "colibri.sqlite" in path])
        return real(parts, act)

    monkeypatch.setattr(forked, "spread", spread)
    assert _results(cli) == dict.fromkeys(fleet, "delivered")
    assert open_then == [[]]


def test_few_tenants_or_one_process_are_not_shared(cli, fleet, parts) -> None:
    cli.settings["COLIBRI_PROVISION_PROCESSES"] = "1"
    _results(cli)
    cli.settings |= {"COLIBRI_PROVISION_PROCESSES": "3", "COLIBRI_BATCH_SIZE": "64"}
    _results(cli)
    assert parts == []


def test_each_failure_is_its_tenants_own(cli, fleet, parts) -> None:
    bad = ["t01", "t06", "t12"]
    for name in bad:
        cli.must("secret", "unset", name, "API_KEY")
    expected = {name: "failed" if name in bad else "delivered" for name in fleet}
    assert _results(cli, status=9) == expected
    assert parts == [3]
    said = cli.run("provision", "--all").text
    assert all(name in said for name in bad)


def test_who_misses_its_answer_is_told_so_and_the_next_run_mends_it(
    cli, fleet, monkeypatch
) -> None:
    here, real = os.getpid(), os.fsync

    def killed(fd: int) -> None:
        if os.getpid() != here and "t05" in os.readlink(f"/proc/self/fd/{fd}"):
            os.kill(os.getpid(), signal.SIGKILL)
        real(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        done = cli.run("provision", "--all", "--json")
    assert done.status == 9
    failed = {i["tenant_id"]: i["error"] for i in done.json["items"] if i["result"] == "failed"}
    assert "t05" in failed
    assert "t00" not in failed
    assert {error["code"] for error in failed.values()} == {"busy"}
    assert set(_results(cli).values()) == {"delivered", "unchanged"} or (
        set(_results(cli).values()) == {"unchanged"}
    )
    assert all(path.read_bytes() for path in fleet.values())
    cli.must("verify", "--all")
    cli.must("audit", "verify")


def test_a_fault_of_ours_in_a_part_is_told_as_one(cli, fleet, monkeypatch) -> None:
    """By type and place: what it says could hold a value."""
    here, real = os.getpid(), Batch.run

    def broken(batch, work, **more):
        if os.getpid() != here and any(known.tenant.tenant_id == "t05" for known, _ in work):
            raise RuntimeError("a value")
        return real(batch, work, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Batch, "run", broken)
        done = cli.run("provision", "--all", "--json")
    assert done.status == 9
    errors = {i["tenant_id"]: i["error"] for i in done.json["items"] if i["result"] == "failed"}
    assert errors["t05"]["code"] == "internal"
    assert "RuntimeError at test_processes.py" in errors["t05"]["message"]
    assert "a value" not in done.text + done.stderr
    assert {"t00", "t12"}.isdisjoint(errors)
    assert "delivered" in _results(cli).values()


def test_who_is_busy_is_waited_for_when_all_else_is_done(cli, fleet, parts) -> None:
    locks = FileLocks(str(cli.state / "provision.lock"), timeout_seconds=1)
    order = []
    with locks.hold("t05"):
        cli.settings["COLIBRI_LOCK_TIMEOUT_SECONDS"] = "30"
        ours = subprocess.Popen(
            [str(INSTALLED), "provision", "--all", "--json"],
            env=cli.environment,
            stdout=subprocess.PIPE,
        )
        while len(order) < TENANTS - 1:
            order += [n for n, path in fleet.items() if path.exists() and n not in order]
            assert ours.poll() is None
        assert not fleet["t05"].exists()
    told = json.loads(ours.communicate(timeout=60)[0])["items"]
    assert {item["tenant_id"]: item["result"] for item in told} == dict.fromkeys(fleet, "delivered")
    assert ours.returncode == 0
    assert fleet["t05"].exists()


@pytest.mark.parametrize("after", [0.3, 0.45])
def test_killed_it_leaves_no_process_and_the_next_run_mends_it(cli, fleet, after) -> None:
    ours = subprocess.Popen(
        [str(INSTALLED), "provision", "--all"],
        env=cli.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(after)
    ours.kill()
    ours.wait()
    give_up = time.monotonic() + 10
    while True:
        try:
            os.killpg(ours.pid, 0)
        except ProcessLookupError:
            break
        assert time.monotonic() < give_up
        time.sleep(0.01)
    cli.must("provision", "--all")
    cli.must("verify", "--all")
    cli.must("audit", "verify")
    assert not list(cli.state.rglob(".colibri-*"))
    assert set(_results(cli).values()) == {"unchanged"}
