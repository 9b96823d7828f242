"""`colibri hook run`: what a spawner is answered, and that nothing but the answer is left."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from tests.kit.cli import INSTALLED, Cli
from vault_svc.adapters.locks import FileLocks
from vault_svc.config import load
from vault_svc.services.hook import Spawned
from vault_svc.wiring import Services

VALUE = "sk-live-0123456789"
ENGINES = ("podman", "buildah", "runc", "crun", "machinectl", "systemd-nspawn", "bastille", "jls")


@pytest.fixture
def acme(cli: Cli) -> Cli:
    """A registered tenant whose jail has no file yet."""
    cli.tenant("acme", API_KEY=VALUE)
    return cli


def hook(cli: Cli, *options: str, jail: str = "acme", root: Path | str | None = None):
    given = root or cli.state / "jails" / jail / "root"
    return cli.run("hook", "run", "--jail", jail, "--root", str(given), *options)


def env_file(cli: Cli) -> Path:
    return cli.state / "jails/acme/root/home/app/.env"


def events(cli: Cli) -> list[str]:
    return [line["event"] for line in cli.must("audit", "tail", "--json").json["items"]]


def test_the_file_is_there_when_the_spawner_has_its_answer(acme):
    answer = hook(acme, "--json").must().json
    assert (answer["result"], answer["receipt"]["generation"]) == ("delivered", 1)
    assert VALUE in env_file(acme).read_text()
    assert events(acme)[-2:] == ["will_deliver", "delivered"]
    before = env_file(acme).stat()
    assert hook(acme, "--json").must().json["result"] == "unchanged"
    after = env_file(acme).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize("jail", ["acm", "acme1", "nobody"])
@pytest.mark.parametrize("policy", ["refuse", "continue"])
def test_a_jail_without_a_row_is_status_3_by_its_exact_name(acme, jail, policy):
    answer = hook(acme, "--on-provision-failure", policy, jail=jail)
    assert (answer.status, answer.error["code"]) == (3, "no_tenant_for_jail")
    assert not env_file(acme).exists()


def test_a_row_without_a_collection_is_status_3(cli):
    cli.register("acme", "--no-collection")
    answer = hook(cli)
    assert (answer.status, answer.error["code"]) == (3, "no_collection")


@pytest.mark.parametrize("jail", ["ALL", "../x", "-x", "1", "a\nb", ""])
def test_what_is_no_jail_name_is_refused(acme, jail):
    answer = acme.run("hook", "run", f"--jail={jail}", "--root", "/nowhere")
    assert (answer.status, answer.error["code"]) == (5, "jail_name_refused")


def _elsewhere(cli: Cli) -> str:
    return str(cli.state / "jails/acme")


def _linked(cli: Cli) -> str:
    other = cli.home / "link"
    other.symlink_to(cli.state / "jails/acme/root")
    return str(other)


def _dotted(cli: Cli) -> str:
    return str(cli.state / "jails/acme") + "/../acme/root"


@pytest.mark.parametrize("root", [_elsewhere, _linked, _dotted, lambda _: "/", lambda _: "x"])
def test_a_root_that_is_not_the_registered_one_is_refused(acme, root):
    answer = hook(acme, root=root(acme))
    assert (answer.status, answer.error["code"]) == (5, "jail_root_mismatch")
    assert not env_file(acme).exists()


def test_a_root_made_anew_under_the_same_name_is_refused(acme):
    root = acme.state / "jails/acme/root"
    root.rename(root.with_name("old"))
    shutil.copytree(root.with_name("old"), root)
    answer = hook(acme)
    assert (answer.status, answer.error["code"]) == (5, "jail_root_mismatch")


def _lost_identity(cli: Cli) -> None:
    (cli.state / "credentials/embedded.age").unlink()


def _suspended(cli: Cli) -> None:
    cli.must("suspend", "acme")


def _blocked_path(cli: Cli) -> None:
    env_file(cli).mkdir()


FAILURES = [
    (_lost_identity, 6, "credential_missing"),
    (_suspended, 5, "tenant_suspended"),
    (_blocked_path, 5, "target_not_regular"),
]


@pytest.mark.parametrize(("spoil", "status", "code"), FAILURES)
def test_a_failure_forbids_the_start_and_keeps_its_code(acme, spoil, status, code):
    spoil(acme)
    answer = hook(acme)
    assert (answer.status, answer.error["code"]) == (status, code)
    assert not env_file(acme).is_file()
    assert "started_regardless" not in events(acme)


@pytest.mark.parametrize(("spoil", "status", "code"), FAILURES)
def test_continue_lets_it_start_and_says_so_in_the_log(acme, spoil, status, code):
    spoil(acme)
    answer = hook(acme, "--on-provision-failure=continue", "--json").must()
    assert (answer.json["result"], answer.json["error"]["code"]) == ("failed", code)
    assert f"colibri: {code}: " in answer.stderr
    assert not env_file(acme).is_file()
    last = acme.must("audit", "tail", "--json").json["items"][-1]
    assert (last["event"], last["tenant"]) == ("started_regardless", "acme")
    assert last["detail"] == {"jail": "acme", "code": code}


def test_continue_that_cannot_be_recorded_is_a_refusal(acme, monkeypatch):
    def full(*_, **__):
        from vault_svc.errors import ColibriError

        raise ColibriError("audit_unwritable", "planted")

    monkeypatch.setattr("vault_svc.adapters.audit.jsonl.JsonlAudit.append", full)
    answer = hook(acme, "--on-provision-failure=continue")
    assert answer.status == 10
    assert "audit_unwritable" in answer.stderr.splitlines()[-1]
    assert not env_file(acme).exists()


def _held(cli: Cli):
    return FileLocks(str(cli.state / "provision.lock"), timeout_seconds=1).hold("acme")


def test_an_answer_comes_in_time_and_leaves_nobody_at_work(acme):
    acme.settings["COLIBRI_HOOK_TIMEOUT_SECONDS"] = "1"
    others = _children()
    with _held(acme):
        before = time.monotonic()
        answer = hook(acme)
        took = time.monotonic() - before
    assert (answer.status, answer.error["code"]) == (10, "hook_timeout")
    assert took < 10
    assert _children() <= others
    time.sleep(0.2)
    assert not env_file(acme).exists()


def test_one_whose_tenant_is_at_work_elsewhere_delays_no_other(acme):
    acme.settings["COLIBRI_HOOK_TIMEOUT_SECONDS"] = "20"
    for name in ("beta", "zeta"):
        acme.tenant(name, API_KEY=VALUE)
    with _held(acme):
        waiting = [_started(acme, name) for name in ("acme", "beta")]
        assert waiting[1].wait(10) == 0
        assert hook(acme, jail="zeta").must()
        assert waiting[0].poll() is None
    assert waiting[0].wait(20) == 0
    assert VALUE in env_file(acme).read_text()


def _children() -> set[str]:
    """This process's own, dead ones too; other tests of the worker may have left some."""
    return set(Path("/proc/thread-self/children").read_text().split())


def test_a_late_delivery_can_be_waived_and_that_is_recorded(acme):
    acme.settings["COLIBRI_HOOK_TIMEOUT_SECONDS"] = "2"
    with _held(acme):
        hook(acme, "--on-provision-failure=continue").must()
    assert events(acme)[-1] == "started_regardless"


def test_a_fault_in_the_child_is_told_by_type_and_place_only(acme, monkeypatch):
    def fault(*_, **__):
        raise ZeroDivisionError(VALUE)

    monkeypatch.setattr("vault_svc.services.hook.Hook.each", fault)
    answer = hook(acme)
    assert (answer.status, answer.error["code"]) == (1, "internal")
    assert "ZeroDivisionError" in answer.stderr
    assert VALUE not in answer.stderr


@pytest.mark.xdist_group("race")
def test_killed_it_leaves_nobody_at_work(acme):
    root = acme.state / "jails/acme/root"
    with _held(acme):
        started = subprocess.Popen(
            [str(INSTALLED), "hook", "run", "--jail", "acme", "--root", str(root)],
            env=acme.environment,
            start_new_session=True,
        )
        child = _child_of(started.pid)
        started.send_signal(signal.SIGKILL)
        started.wait(10)
        _until(lambda: not Path(f"/proc/{child}").exists())
    assert not env_file(acme).exists()


def _child_of(pid: int) -> int:
    found: list[int] = []

    def look() -> bool:
        for each in filter(str.isdigit, os.listdir("/proc")):
            try:
                parts = Path("/proc", each, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(parts[1]) == pid:
                found.append(int(each))
        return bool(found)

    _until(look)
    return found[0]


def _until(done) -> None:
    give_up = time.monotonic() + 20
    while not done():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def _trapped(cli: Cli) -> Path:
    """Put programs of all engines first on PATH; each leaves a note when it is run."""
    traps, note = cli.home / "traps", cli.home / "sprung"
    traps.mkdir()
    for name in ENGINES:
        trap = traps / name
        trap.write_text(f"#!/bin/sh\necho {name} >>{note}\n")
        trap.chmod(0o755)
    cli.settings["PATH"] = f"{traps}:{cli.environment['PATH']}"
    return note


def test_no_engine_is_asked_from_inside_the_hook(acme):
    note = _trapped(acme)
    acme.process(
        "hook", "run", "--jail", "acme", "--root", str(acme.state / "jails/acme/root")
    ).must()
    assert not note.exists()
    subprocess.run(["podman"], env=acme.environment, check=True)  # the traps do spring
    assert note.read_text() == "podman\n"


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_nothing_at_all_is_run_from_inside_the_hook(acme):
    trace = acme.home / "trace"
    line = ["strace", "-f", "-qq", "-e", "trace=execve", "-o", str(trace), str(INSTALLED)]
    root = str(acme.state / "jails/acme/root")
    subprocess.run(
        [*line, "hook", "run", "--jail", "acme", "--root", root],
        env=acme.environment,
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert VALUE in env_file(acme).read_text()
    assert trace.read_text().count("execve(") == 1


def test_hooks_that_wait_for_a_source_are_delivered_for_together(cli):
    """As `provision --all` does: one announcement in the log for all who waited."""
    names = [f"t{number}" for number in range(6)]
    for name in names:
        cli.tenant(name, API_KEY=f"value-of-{name}")
    hook(cli, jail="nobody")
    queue = cli.state / "hooks"
    queue.mkdir(mode=0o700, exist_ok=True)
    lead = os.open(queue / "embedded.lead", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lead, fcntl.LOCK_EX)
    running = [_started(cli, name) for name in names]
    give_up = time.monotonic() + 30
    while len(list(queue.glob("*.ask"))) < len(names):
        assert time.monotonic() < give_up
        time.sleep(0.02)
    os.close(lead)
    assert [process.wait(30) for process in running] == [0] * len(names)
    for name in names:
        text = (cli.state / f"jails/{name}/root/home/app/.env").read_text()
        assert f"value-of-{name}" in text
        assert text.count("value-of-") == 1
    lines = cli.must("audit", "tail", "--json", "--lines", "40").json["items"]
    assert len({line["at"] for line in lines if line["event"] == "will_deliver"}) == 1


def test_one_that_fails_keeps_no_other_from_starting(cli):
    for name in ("bad", "good"):
        cli.tenant(name, API_KEY=f"value-of-{name}")
    cli.must("suspend", "bad")
    spawned = [
        Spawned(name, str(cli.state / f"jails/{name}/root")) for name in ("bad", "nobody", "good")
    ]
    services = Services(load(cli.environment))
    done = dict(filter(None, services.hook.each([*spawned, spawned[2]])))
    bad, nobody, good, _ = (done[number] for number in range(4))
    assert (bad.code, nobody.code) == ("tenant_suspended", "no_tenant_for_jail")
    assert good.result == "delivered"


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("root", ["/odd\udcff", "/a" * 40_000, "/x\0y", ""], ids=range(4))
def test_a_root_that_is_none_keeps_no_other_from_starting(cli, root, known):
    """It is a spawner's word; the jails that wait beside it are other tenants'."""
    for name in ("bad", "good"):
        cli.tenant(name, API_KEY=f"value-of-{name}")
    if not known:  # as where an engine's roots change
        with sqlite3.connect(cli.state / "colibri.sqlite") as registry:
            registry.execute("UPDATE tenants SET jail_root = '' WHERE tenant_id = 'bad'")
        registry.close()
    spawned = [Spawned("bad", root), Spawned("good", str(cli.state / "jails/good/root"))]
    done = dict(filter(None, Services(load(cli.environment)).hook.each(spawned)))
    assert done[0].code not in {"", "internal"}
    assert done[1].result == "delivered"


def _started(cli: Cli, name: str) -> subprocess.Popen:
    root = cli.state / f"jails/{name}/root"
    line = [str(INSTALLED), "hook", "run", "--jail", name, "--root", str(root)]
    return subprocess.Popen(line, env=cli.environment, stderr=subprocess.DEVNULL)
