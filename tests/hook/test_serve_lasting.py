"""`colibri hook serve` over time: who hangs, what ends, and what the process keeps."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cli import hook_serving
from tests.hook.serving import (
    VALUE,
    adopt,
    call,
    children,
    env_file,
    events,
    held,
    only_served,
    plain,
    root,
    seconds_worked,
    until,
)
from tests.kit.cli import Cli, Result
from vault_svc.hazmat import worker
from vault_svc.hazmat.filelock import opened_and_owned
from vault_svc.hazmat.worker import Worker
from vault_svc.services.hook import Hook


@contextmanager
def begun(cli: Cli, service: subprocess.Popen[bytes], *options: str) -> Iterator[Future[Result]]:
    """Have a delivery into acme's jail wait in a child of the service."""
    with ThreadPoolExecutor(1) as pool, held(cli):
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
        with held(acme):
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
