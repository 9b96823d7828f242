"""`colibri hook serve`: a hook that finds it is answered as if it had delivered by itself."""

from __future__ import annotations

import errno
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli import hook_call, hook_serving
from cli.invocation import Session
from tests.hook.containers import SHORT_WAY
from tests.kit.cli import INSTALLED, Cli, Result
from tests.kit.places import private_directory
from vault_svc.adapters import door, door_call, door_place
from vault_svc.adapters.locks import FileLocks
from vault_svc.hazmat import worker
from vault_svc.hazmat.filelock import opened_and_owned
from vault_svc.hazmat.worker import Worker
from vault_svc.services.hook import Hook
from vault_svc.wiring import Services

VALUE = "sk-live-0123456789-of-nobody-else"
ROOT_OF_OTHERS = "/var/lib/nowhere"


@pytest.fixture
def acme(cli: Cli) -> Cli:
    cli.tenant("acme", API_KEY=VALUE)
    return cli


@pytest.fixture
def served(acme: Cli) -> Iterator[Cli]:
    with acme.serving():
        yield acme


@pytest.fixture
def served_by(acme: Cli) -> Iterator[tuple[Cli, subprocess.Popen[bytes]]]:
    with acme.serving() as service:
        yield acme, service


NOBODY = "/nowhere/colibri"
"""For who may not do it himself."""


def call(
    cli: Cli,
    *words: str,
    stdin: bytes = b"",
    seconds: str = "60",
    colibri: str = str(INSTALLED),
    **extra: str,
) -> Result:
    """Start the hook as an engine does."""
    way = [sys.executable, "-I", "-S", str(SHORT_WAY), str(cli.state / "hooks"), seconds]
    done = subprocess.run(
        [*way, colibri, "hook", *words],
        input=stdin, capture_output=True, env=cli.environment | extra, timeout=60, check=False,
    )  # fmt: skip
    return Result(words, done.returncode, done.stdout, done.stderr.decode())


def root(cli: Cli, jail: str = "acme") -> str:
    return str(cli.state / "jails" / jail / "root")


def plain(cli: Cli, *options: str, jail: str = "acme") -> tuple[str, ...]:
    return ("run", "--jail", jail, "--root", root(cli), *options)


def env_file(cli: Cli) -> Path:
    return Path(root(cli), "home/app/.env")


def events(cli: Cli) -> list[str]:
    return [line["event"] for line in cli.must("audit", "tail", "--json").json["items"]]


def children(service: subprocess.Popen[bytes]) -> list[str]:
    return Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()


def until(true, seconds: float = 20) -> None:
    give_up = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_it_delivers_and_the_caller_has_its_words(served, monkeypatch):
    first = call(served, *plain(served, "--json")).must().json
    assert (first["result"], first["receipt"]["generation"]) == ("delivered", 1)
    assert VALUE in env_file(served).read_text()
    assert events(served)[-2:] == ["will_deliver", "delivered"]
    before = env_file(served).stat()
    assert call(served, *plain(served)).must().stderr.endswith("'acme' unchanged\n")
    after = env_file(served).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_nothing_but_the_answer_comes_from_the_caller_itself(served):
    """Its own colibri cannot be started, and is not missed."""
    way = [sys.executable, "-I", "-S", str(SHORT_WAY), str(served.state / "hooks"), "60"]
    line = [*way, "/nowhere/colibri", "hook", *plain(served)]
    done = subprocess.run(line, env=served.environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"delivered, generation 1" in done.stderr


def _state(cli: Cli, **changes: object) -> bytes:
    bundle = cli.home / "bundle"
    bundle.mkdir(exist_ok=True)
    annotations = {"annotations": {"colibri.jail": "acme"}}
    config = {"root": {"path": root(cli)}, **annotations}
    (bundle / "config.json").write_text(json.dumps(config))
    state = {"ociVersion": "1.0.2", "id": "c1", "status": "creating", "pid": os.getpid()}
    return json.dumps({**state, "bundle": str(bundle), **annotations, **changes}).encode()


CASES = {
    "plain": lambda cli: (plain(cli), b""),
    "document": lambda cli: (plain(cli, "--json"), b""),
    "no tenant": lambda cli: (plain(cli, jail="nobody"), b""),
    "no name": lambda cli: (plain(cli, "--json", jail="../x"), b""),
    "another root": lambda _: (("run", "--jail", "acme", "--root", ROOT_OF_OTHERS), b""),
    "nspawn": lambda _: (("nspawn", "nobody"), b""),
    "nspawn root": lambda cli: (("nspawn", "acme", "--root", root(cli)), b""),
    "bastille": lambda _: (("bastille", "acme"), b""),
    "container": lambda cli: (("oci",), _state(cli)),
    "container document": lambda cli: (("oci", "--json"), _state(cli)),
    "container of nobody": lambda cli: (("oci",), _state(cli, annotations={})),
    "no state": lambda _: (("oci",), b"{"),
    "no stdin": lambda _: (("oci", "--json"), b""),
    "too long a state": lambda _: (("oci",), b" " * (hook_call.MOST + 5)),
    "help": lambda _: (("run", "--help"), b""),
    "usage": lambda _: (("run", "--jail", "acme"), b""),
    "on failure": lambda _: (
        ("run", "--jail=acme", f"--root={ROOT_OF_OTHERS}", "--on-provision-failure=continue"), b""
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def both() -> Iterator[dict[str, tuple[Result, Result, Result]]]:
    """Every case's answer: by the command alone, beside the service, and by that alone."""
    with private_directory() as home:
        acme = Cli(home).ready()
        acme.tenant("acme", API_KEY=VALUE)
        acme.must("provision", "acme")
        lines = {name: made(acme) for name, made in CASES.items()}
        alone = {name: call(acme, *line, stdin=said) for name, (line, said) in lines.items()}
        with acme.serving():
            served = {name: call(acme, *line, stdin=said) for name, (line, said) in lines.items()}
            only = {
                name: call(acme, *line, stdin=said, colibri=NOBODY)
                for name, (line, said) in lines.items()
            }
        yield {name: (alone[name], served[name], only[name]) for name in CASES}


@pytest.mark.parametrize("case", CASES)
def test_it_answers_byte_for_byte_what_the_command_itself_answers(both, case):
    alone, served, only = both[case]
    assert served == alone
    assert (only == alone) is (case not in {"help", "usage"})
    assert alone.stderr or alone.stdout


def test_a_start_regardless_is_in_the_log_once(served):
    served.must("suspend", "acme")
    words = plain(served, "--on-provision-failure=continue", "--json")
    answer = call(served, *words, colibri=NOBODY).must()
    assert answer.json["error"]["code"] == "tenant_suspended"
    assert "colibri: tenant_suspended: " in answer.stderr
    assert events(served).count("started_regardless") == 1


def test_what_comes_together_each_gets_its_own(cli):
    names = [f"t{number}" for number in range(12)]
    for name in names:
        cli.tenant(name, API_KEY=f"{VALUE}-{name}")
    with cli.serving():
        way = [sys.executable, "-I", "-S", str(SHORT_WAY), str(cli.state / "hooks"), "60"]
        calls = [
            subprocess.Popen(
                [*way, NOBODY, "hook", "run", "--jail", name, "--root", root(cli, name)],
                env=cli.environment, stderr=subprocess.PIPE,
            )
            for name in names
        ]  # fmt: skip
        said = {
            name: each.communicate(timeout=60)[1].decode()
            for name, each in zip(names, calls, strict=True)
        }
    assert {each.returncode for each in calls} == {0}
    for name in names:
        assert f"tenant '{name}' delivered, generation 1" in said[name]
        assert f"{VALUE}-{name}" in Path(root(cli, name), "home/app/.env").read_text()


@pytest.mark.parametrize("by", ["COLIBRI_CONFIG", "COLIBRI_DB_PATH"])
def test_whoever_has_other_settings_does_it_himself(served, by):
    """Shown by a registry that is not there: the service, with its own, would not miss it."""
    nowhere, other = f"{served.home}/nowhere.db", served.home / "other.toml"
    other.write_text(f'db_path = "{nowhere}"\n')
    answer = call(served, *plain(served), **{by: str(other) if "CONFIG" in by else nowhere})
    assert (answer.status, answer.error["code"]) == (2, "usage")
    assert not env_file(served).exists()


def adopt(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    """Give this process the settings of a colibri, and none of the suite's own."""
    for name in [name for name in os.environ if name.startswith("COLIBRI_")]:
        monkeypatch.delenv(name)
    for name, value in cli.environment.items():
        monkeypatch.setenv(name, value)


class Said:
    """A call as the door reads it."""

    def __init__(self, *circumstances: str, words: tuple[str, ...] = ("hook", "oci")) -> None:
        self.environment = dict(each.split("=", 1) for each in circumstances)
        self.words = ("colibri", *words)
        self.stdin = b""


def test_who_sees_other_file_systems_or_code_does_it_himself(acme, monkeypatch):
    adopt(monkeypatch, acme)
    own = [f"{name}={value}" for name, value in acme.environment.items() if "COLIBRI" in name]
    here = hook_call.surroundings()
    assert [each.split("=")[0] for each in here] == ["@code", "@root", "@mnt", "@user", "@pid"]
    fits = _fits(monkeypatch)
    assert fits(Said(*own, *here))
    assert not fits(Said(*own, *here, words=("hook", "oci", "--help")))
    assert not fits(Said(*own, *here, words=("--config", "/other", "hook", "oci")))
    assert not fits(Said(*own, *here, "COLIBRI_BATCH_SIZE=2"))
    for odd in here:
        assert not fits(Said(*own, *(each for each in here if each != odd), f"{odd}1")), odd
        assert not fits(Said(*own, *(each for each in here if each != odd))), odd


def test_a_settings_file_named_from_where_somebody_stands_is_his_own(acme, monkeypatch):
    adopt(monkeypatch, acme)
    monkeypatch.chdir(acme.home)
    monkeypatch.setenv("COLIBRI_CONFIG", acme.config.name)
    own = [f"{name}={os.environ[name]}" for name in os.environ if name.startswith("COLIBRI_")]
    assert not _fits(monkeypatch)(Said(*own, *hook_call.surroundings()))
    monkeypatch.setenv("COLIBRI_CONFIG", "")
    others = [each for each in own if not each.startswith("COLIBRI_CONFIG=")]
    assert _fits(monkeypatch)(Said(*others, *hook_call.surroundings()))


def _fits(monkeypatch: pytest.MonkeyPatch) -> Callable[[Said], bool]:
    """Return what `hook serve` asks of a call."""
    asked: list[Callable[[Said], bool]] = []
    door = SimpleNamespace(serve=lambda fits, _handle: asked.append(fits))
    monkeypatch.setattr(Services, "hook_door", lambda *_: door)
    hook_serving.serve(Session(None))
    return asked[0]


def test_settings_are_read_anew_for_each_delivery(served):
    served.config.write_text("max_env_bytes = 5\n")
    answer = call(served, *plain(served), colibri=NOBODY)
    assert answer.error["code"] == "secret_value_unrepresentable"
    served.config.write_text("batch_size = many\n")
    assert call(served, *plain(served), colibri=NOBODY).error["code"] == "usage"
    served.config.write_text("")
    assert call(served, *plain(served), colibri=NOBODY).must()


def seen_by_doctor(cli: Cli) -> str | None:
    checks = cli.process("doctor", "--json").json["items"]
    return next((each["state"] for each in checks if each["name"] == "hook service"), None)


def test_doctor_says_whether_hooks_are_served(acme):
    assert seen_by_doctor(acme) is None
    before = events(acme)
    with acme.serving() as service:
        assert seen_by_doctor(acme) == "ok"
        acme.settings["COLIBRI_BATCH_SIZE"] = "2"
        assert seen_by_doctor(acme) == "warn"
        del acme.settings["COLIBRI_BATCH_SIZE"]
        service.kill()
        service.wait()
    assert seen_by_doctor(acme) == "warn"
    assert events(acme) == before


def test_a_second_one_is_refused_and_the_first_stays(served):
    second = served.process("hook", "serve")
    assert (second.status, second.error["code"]) == (10, "busy")
    assert call(served, *plain(served)).must().stderr.endswith("generation 1\n")


@pytest.mark.parametrize("what", ["opened_and_owned", "_bind"])
@pytest.mark.parametrize(("number", "code"), [("ENOSPC", "no_space"), ("EIO", "busy")])
def test_where_it_cannot_listen_the_reason_has_a_code(acme, monkeypatch, what, number, code):
    def fail(*_: object) -> None:
        raise OSError(getattr(errno, number), "of the disk")

    monkeypatch.setattr(door_place, what, fail)
    assert acme.run("hook", "serve").error["code"] == code


def _held(cli: Cli):
    return FileLocks(str(cli.state / "provision.lock"), timeout_seconds=1).hold("acme")


@contextmanager
def begun(cli: Cli, service: subprocess.Popen[bytes], *options: str) -> Iterator[Future[Result]]:
    """Have a delivery into acme's jail wait in a child of the service."""
    with ThreadPoolExecutor(1) as pool, _held(cli):
        waiting = pool.submit(call, cli, *plain(cli, *options))
        until(lambda: children(service))
        yield waiting


def test_one_that_hangs_delays_no_other_and_is_answered_in_time(acme):
    acme.settings["COLIBRI_HOOK_TIMEOUT_SECONDS"] = "2"
    acme.tenant("zeta", API_KEY=VALUE)
    other = ("run", "--jail", "zeta", "--root", root(acme, "zeta"))
    with acme.serving() as service, begun(acme, service) as waiting:
        call(acme, *other).must()
        assert not waiting.done()
        late = waiting.result(timeout=30)
        assert (late.status, late.error["code"]) == (10, "hook_timeout")
        assert late.error["message"] == "no delivery within 2 seconds"
        until(lambda: not children(service))
    assert not env_file(acme).exists()


@contextmanager
def _held_elsewhere(cli: Cli) -> Iterator[None]:
    """Hold it in a process that nothing is forked from."""
    code = f"""
from vault_svc.adapters.locks import FileLocks
with FileLocks({str(cli.state / "provision.lock")!r}, timeout_seconds=1).hold("acme"):
    print("held", flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        yield
        holder.stdin.write(b"\n")


class Posted:
    """A call whose answer comes through a pipe, from whichever process gives it."""

    def __init__(self, cli: Cli, jail: str) -> None:
        self.words = ("colibri", "hook", "run", "--jail", jail, "--root", root(cli, jail))
        self.stdin = b""
        self._reading, self._writing = os.pipe()

    def answer(self, status: int, stdout: bytes, stderr: bytes) -> None:
        os.write(self._writing, b"%d %d " % (status, os.getpid()) + stderr)

    def text(self, seconds: float = 8) -> str:
        assert select.select([self._reading], [], [], seconds)[0]
        return os.read(self._reading, 4096).decode()


def test_a_source_that_hangs_delays_no_tenant_of_another(acme, monkeypatch):
    """Every jail has a source of its own here, as several deliveries at once would."""
    acme.tenant("zeta", API_KEY=VALUE)
    adopt(monkeypatch, acme)
    monkeypatch.setattr(Hook, "source_of", lambda _, spawned: spawned.jail)
    calls = [Posted(acme, "acme"), Posted(acme, "zeta"), Posted(acme, "nobody")]
    jobs = [hook_serving._Job(each) for each in calls]
    with ThreadPoolExecutor(1) as pool:
        with _held_elsewhere(acme):
            answered = pool.submit(hook_serving._answer, None, jobs, late=False)
            status, child, said = calls[1].text().split(" ", 2)
            assert (status, said.split("(")[0]) == ("0", ZETA)
            assert not answered.done()
        answered.result(timeout=30)
    other = calls[0].text().split(" ", 2)
    assert (other[0], other[2]) == ("0", ZETA.replace("zeta", "acme"))
    assert len({child, other[1], str(os.getpid())}) == 3
    assert calls[2].text().startswith("3 ")


ZETA = "colibri: jail 'zeta' may start: tenant 'zeta' delivered, generation 1\n"


def test_one_that_waits_for_a_lock_delays_nobody_of_its_own_batch(acme, monkeypatch):
    acme.tenant("zeta", API_KEY=VALUE)
    adopt(monkeypatch, acme)
    calls = [Posted(acme, "acme"), Posted(acme, "zeta")]
    jobs = [hook_serving._Job(each) for each in calls]
    with ThreadPoolExecutor(1) as pool:
        with _held(acme):
            answered = pool.submit(hook_serving._answer, None, jobs, late=False)
            assert calls[1].text().endswith(ZETA)
            assert not answered.done()
        assert calls[0].text().endswith(ZETA.replace("zeta", "acme"))
        answered.result(timeout=30)


def test_one_that_hangs_starts_regardless_where_that_was_asked_for(acme):
    acme.settings["COLIBRI_HOOK_TIMEOUT_SECONDS"] = "1"
    with acme.serving() as service:
        with begun(acme, service, "--on-provision-failure=continue", "--json") as waiting:
            late = waiting.result(timeout=30).must()
        assert late.json["error"]["code"] == "hook_timeout"
    assert events(acme)[-1] == "started_regardless"


def test_killed_it_takes_its_children_along_and_each_caller_does_it_himself(acme):
    with acme.serving() as service:
        with begun(acme, service) as waiting:
            (child,) = children(service)
            service.kill()
            until(lambda: not Path("/proc", child).exists())
        assert waiting.result(timeout=60).must().stderr.endswith("delivered, generation 1\n")


def test_asked_to_end_it_ends_what_has_begun_and_begins_nothing(acme):
    acme.tenant("zeta", API_KEY=VALUE)
    other = ("run", "--jail", "zeta", "--root", root(acme, "zeta"))
    with acme.serving() as service:
        with begun(acme, service) as waiting:
            service.terminate()
            until(lambda: not (acme.state / "hooks/serve.sock").exists())
            call(acme, *other).must()
            assert service.poll() is None
        assert waiting.result(timeout=60).must().stderr.endswith("delivered, generation 1\n")
        assert service.wait(timeout=20) == 0


def seconds_worked(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_asked_to_end_it_sleeps_until_what_has_begun_is_done(acme):
    with acme.serving() as service:
        with begun(acme, service) as waiting:
            service.terminate()
            until(lambda: not (acme.state / "hooks/serve.sock").exists())
            before = seconds_worked(service.pid)
            time.sleep(0.5)
            assert seconds_worked(service.pid) - before < 0.2
        waiting.result(timeout=60).must()


def test_its_end_takes_away_no_other_s_socket(acme):
    hooks = acme.state / "hooks"
    with acme.serving() as old:
        hooks.rename(acme.state / "hooks-moved")
        with acme.serving():
            old.terminate()
            assert old.wait(timeout=20) == 0
            assert only_served(acme).status == 0
        assert not (acme.state / "hooks-moved/serve.sock").exists()


OWNER = """
import os, sys, time
from vault_svc.hazmat.filelock import opened_and_owned
held = opened_and_owned(os.open(sys.argv[1], os.O_RDONLY), "lock")
child = os.fork()
if child:
    print(held is not None, child, flush=True)
time.sleep(60)
"""


def test_its_lock_ends_with_it_whatever_a_child_does(tmp_path):
    line = [sys.executable, "-c", OWNER, str(tmp_path)]
    where = Path(__file__).parents[2]
    with subprocess.Popen(line, stdout=subprocess.PIPE, cwd=where) as owner:
        held, child = owner.stdout.readline().split()
        place = os.open(tmp_path, os.O_RDONLY)
        try:
            assert held == b"True"
            assert opened_and_owned(place, "lock") is None
            owner.kill()
            owner.wait()
            mine = opened_and_owned(place, "lock")
            assert mine is not None
            os.close(mine)
        finally:
            os.close(place)
            os.kill(int(child), signal.SIGKILL)


@pytest.mark.parametrize("limit", ["3e6", "1e12"])
def test_a_limit_longer_than_the_kernel_s_waits_is_one(acme, limit):
    acme.settings["COLIBRI_HOOK_TIMEOUT_SECONDS"] = limit
    with acme.serving() as service:
        for _ in range(2):
            call(acme, *plain(acme), seconds=limit).must()
        with begun(acme, service) as waiting:
            assert service.poll() is None
        waiting.result(timeout=60).must()
        assert only_served(acme).status == 0
    call(acme, *plain(acme), seconds=limit).must()


def test_without_descriptors_it_sends_callers_away_and_sleeps(served_by):
    acme, service = served_by
    _, most = resource.prlimit(service.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (16, most))
    held = [connected(acme, b"400 0\n", whole=False) for _ in range(30)]
    since = time.monotonic()
    assert "cannot start '/nowhere/colibri'" in only_served(acme).stderr
    assert time.monotonic() - since < 3
    before = seconds_worked(service.pid)
    time.sleep(0.5)
    assert seconds_worked(service.pid) - before < 0.2
    for each in held:
        each.close()
    resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (most, most))
    until(lambda: only_served(acme).status == 0)


def test_what_a_child_told_before_its_end_is_heard():
    """Else a jail that was answered at the last moment would be told of again, and recorded."""

    def act(done: Callable[[int], None]) -> None:
        done(3)
        done(1)
        time.sleep(60)

    made = Worker(act, ())
    assert select.select([made], [], [], 20)[0]
    time.sleep(0.05)
    assert made.end() == [3, 1]


def test_nobody_waits_for_a_child_that_does_not_die(monkeypatch):
    made = Worker(lambda _: time.sleep(60), ())
    with monkeypatch.context() as patched:
        patched.setattr(worker.os, "kill", lambda *_: None)  # as one that hangs in the kernel
        since = time.monotonic()
        assert made.end() == []
        assert time.monotonic() - since < 5
        assert not made.is_gone()
    os.kill(made._child, signal.SIGKILL)
    until(made.is_gone)


def test_a_call_counts_as_answered_before_its_caller_can_have_gone_on():
    ours, callers = socket.socketpair()
    callers.setblocking(False)
    call = door_call.Call(ours, b"", b"", 0.0)
    heard: list[bool] = []
    call.tell = lambda: heard.append(not select.select([callers], [], [], 0)[0])
    call.answer(0, b"", b"said")
    assert (heard, callers.recv(99)) == ([True], b"0 0 4\nsaid")
    ours.close()
    callers.close()


def test_what_is_late_is_answered_while_its_caller_still_waits():
    assert door._LATE_SECONDS + door_call._SEND_SECONDS <= hook_call._GRACE


def test_after_one_that_was_killed_the_next_one_serves(acme):
    with acme.serving() as service:
        service.kill()
        service.wait()
    assert (acme.state / "hooks/serve.sock").exists()
    call(acme, *plain(acme)).must()  # by itself
    with acme.serving() as service:
        with begun(acme, service) as waiting:
            assert not waiting.done()
        waiting.result(timeout=60).must()


def test_the_process_that_stays_holds_no_secret_before_or_after(acme):
    with acme.serving() as service:
        for _ in range(3):
            call(acme, *plain(acme)).must()
        acme.must("secret", "set", "acme", "API_KEY", stdin=f"{VALUE}-2".encode())
        call(acme, *plain(acme)).must()
        identity = (acme.state / "credentials/embedded.age").read_bytes()
        memory = whole_memory(service.pid)
    assert str(acme.state).encode() in memory  # the hunter has eyes
    (key,) = (line for line in identity.splitlines() if line.startswith(b"AGE-SECRET-KEY-1"))
    for secret in (VALUE.encode(), key, key[-30:]):
        assert secret not in memory


def whole_memory(pid: int) -> bytes:
    found = bytearray()
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            first, last = (int(each, 16) for each in span.split("-"))
            if "w" in rights and "[vvar" not in line:
                memory.seek(first)
                with suppress(OSError):
                    found += memory.read(last - first)
    return bytes(found)


def test_a_child_of_it_finds_what_it_needs_imported(acme):
    code = """
import sys
from cli import hook_serving
from cli.invocation import Session
class Call:
    words, stdin = ("colibri", "hook", "run", "--jail", "acme", "--root", sys.argv[1]), b""
    def answer(self, *said):
        print(said, file=sys.stderr)
Session(None).services.warm()
import vault_svc.adapters.door
before = set(sys.modules)
hook_serving._answer(None, [hook_serving._Job(Call())], late=False)
print(*(name for name in set(sys.modules) - before if name.startswith(("vault_svc", "cli"))))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, root(acme)], env=acme.environment, capture_output=True,
        cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip
    assert b"delivered, generation 1" in done.stderr
    assert done.stdout.split() == []


def _impostor(directory: Path, answer: bytes) -> threading.Thread:
    """Listen where the service would, in a directory of the given kind."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "serve.sock"))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        connection.recv(1 << 16)
        connection.sendall(answer)
        connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


IMPOSTOR = b"+0 0 11\nmay start!\n"


def test_a_socket_where_others_could_have_put_it_is_not_asked(acme, tmp_path):
    hooks = acme.state / "hooks"
    hooks.mkdir(mode=0o700)
    _impostor(hooks, IMPOSTOR)
    assert call(acme, *plain(acme)).stderr == "may start!\n"  # the impostor would be believed
    (hooks / "serve.sock").unlink()
    _impostor(hooks, IMPOSTOR)
    hooks.chmod(0o711)
    said = call(acme, *plain(acme))
    assert said.stderr != "may start!\n"
    hooks.chmod(0o700)


ODD_ANSWERS = [
    b"",
    b"-",
    b"?",
    b"+",
    b"+0",
    b"+0 5 0\nab",
    b"+x y z\n",
    b"+0 -1 0\n",
    b"+999 0\n",
    b"+" + b"9" * 5000 + b" 0 0\n",
]


@pytest.mark.parametrize("answer", ODD_ANSWERS)
def test_an_answer_that_broke_off_or_is_none_is_as_if_nobody_served(acme, answer):
    (acme.state / "hooks").mkdir(mode=0o700)
    _impostor(acme.state / "hooks", answer)
    assert call(acme, *plain(acme)).must().stderr.endswith("delivered, generation 1\n")


def _silent(cli: Cli) -> socket.socket:
    """Listen where the service would, and accept nobody."""
    (cli.state / "hooks").mkdir(mode=0o700, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(cli.state / "hooks/serve.sock"))
    listener.listen(0)
    return listener


def test_one_that_takes_nobody_is_not_waited_for(acme, monkeypatch, capfd):
    listener = _silent(acme)
    monkeypatch.setattr(hook_call, "_PATIENCE", 0.2)
    line = [str(acme.state / "hooks"), "60", "/nowhere/colibri", "hook", *plain(acme)]
    assert hook_call.main(line) == 1
    assert "cannot start '/nowhere/colibri'" in capfd.readouterr().err
    listener.close()


def test_one_whose_queue_is_full_is_not_waited_for_either(acme):
    """Callers who have gone stay in the queue of a service that was stopped."""
    listener = _silent(acme)
    with suppress(BlockingIOError):
        while True:
            gone = socket.socket(socket.AF_UNIX)
            gone.setblocking(False)
            gone.connect(str(acme.state / "hooks/serve.sock"))
            gone.close()
    assert call(acme, *plain(acme)).must().stderr.endswith("delivered, generation 1\n")
    listener.close()


GIVEN_UP = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from cli import hook_call
hook_call._GRACE = 0.0
sys.exit(hook_call.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("options", [(), ("--on-provision-failure=continue", "--json")])
def test_one_that_takes_a_call_and_lets_it_lie_leaves_a_second_to_do_it(acme, options):
    listener = _silent(acme)
    words = ["hook", *plain(acme, *options)]
    way = [sys.executable, "-c", GIVEN_UP, str(Path(__file__).parents[2])]
    line = [*way, str(acme.state / "hooks"), "0.3", str(INSTALLED), *words]
    with (
        _held(acme) if options else nullcontext(),
        subprocess.Popen(
            line, env=acme.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as caller,
    ):
        taken, _ = listener.accept()
        taken.sendall(b"+")
        out, err = caller.communicate(timeout=30)
    assert caller.returncode == 0
    if options:
        assert json.loads(out)["error"]["code"] == "hook_timeout"
        assert events(acme)[-1] == "started_regardless"
    else:
        assert err.endswith(b"delivered, generation 1\n")
    listener.close()


def _started(cli: Cli, colibri: str, *words: str, **how: Any) -> subprocess.Popen[bytes]:
    way = [sys.executable, "-I", "-S", str(SHORT_WAY), str(cli.state / "hooks"), "60"]
    line = ["sh", "-c", how.pop("sh", 'exec "$@"'), "sh", *way, colibri, "hook", *words]
    return subprocess.Popen(line, env=cli.environment, stderr=subprocess.PIPE, **how)


def test_a_jail_that_is_called_as_a_form_is_not_asked_for_a_state(acme):
    acme.tenant("oci", API_KEY=VALUE)
    line = ("run", "--jail", "oci", "--root", root(acme, "oci"))
    with acme.serving(), _started(acme, "/nowhere", *line, stdin=subprocess.PIPE) as caller:
        assert caller.wait(timeout=20) == 0  # though nobody closed its stdin


def test_a_closed_stdin_is_the_command_s_own_words(served):
    with _started(served, str(INSTALLED), "oci", sh='exec "$@" <&-') as caller:
        assert b"usage: no OCI state on stdin" in caller.communicate(timeout=30)[1]
        assert caller.returncode == 2


def connected(cli: Cli, said: bytes, *, whole: bool = True) -> socket.socket:
    """Say something to the service that no hook says."""
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(20)
    made.connect(str(cli.state / "hooks/serve.sock"))
    with suppress(BrokenPipeError, ConnectionResetError):
        made.sendall(said)
        if whole:
            made.shutdown(socket.SHUT_WR)
    return made


ODD_CALLS = [
    b"", b"\n", b"0 0\n", b"1 1\nab", b"5 0\nab", b"2 0\nabc", b"-1 3\nab", b"a b\n", b"1\n\0",
    b"9 0\n\0\0colibri", b"\xff" * 9, b"12 0\nA=\xff\0\0c\0hook", b"3 0\n\0\0\0", b"1e1 0\n",
    b"\xc2\xb2 0\nab", b"9" * 5000 + b" 0\n", b"x" * (3 << 20),
]  # fmt: skip


def test_what_is_no_call_harms_nobody(served):
    half = connected(served, b"400 0\nCOLIBRI_HO", whole=False)
    for said in ODD_CALLS:
        with connected(served, said) as odd, suppress(ConnectionResetError):
            assert odd.recv(9) in {b"", b"-"}, said
    assert only_served(served).status == 0
    half.close()
    assert only_served(served).status == 0


def only_served(cli: Cli) -> Result:
    """Call the hook where nobody but the service could do it."""
    way = [sys.executable, "-I", "-S", str(SHORT_WAY), str(cli.state / "hooks"), "60"]
    line = [*way, "/nowhere/colibri", "hook", *plain(cli)]
    done = subprocess.run(line, env=cli.environment, capture_output=True, check=False)
    return Result(tuple(line), done.returncode, done.stdout, done.stderr.decode())


def test_more_callers_than_it_can_hold_do_it_themselves(served):
    held = [connected(served, b"400 0\n", whole=False) for _ in range(400)]
    until(lambda: "cannot start '/nowhere/colibri'" in only_served(served).stderr)
    for each in held:
        each.close()
    until(lambda: only_served(served).status == 0)


CHANGED = """
import sys
from vault_svc.adapters import door_place
door_place.{what}
sys.argv = ["colibri", "hook", "serve"]
from cli.start import main
main()
"""


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("peer_uid = lambda _: 12345", 1),
        ("peer_uid = lambda _: __import__('os').geteuid()", 0),
        ("peer_uid = lambda _: __import__('os').close(-1)", 1),
    ],
    ids=["other", "own", "unknown"],
)
def test_a_caller_who_is_somebody_else_is_not_heard(acme, what, status):
    code = CHANGED.format(what=what)
    line = [sys.executable, "-c", code]
    with subprocess.Popen(
        line, env=acme.environment, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as service:
        try:
            assert b"served" in service.stderr.readline()
            assert only_served(acme).status == status
            with pytest.raises(subprocess.TimeoutExpired):
                service.wait(timeout=0.3)
        finally:
            service.terminate()
