"""Work in parts: every part's results, whatever becomes of another's process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from vault_svc.errors import ColibriError
from vault_svc.hazmat import forked


def _with_pid(part: range) -> Iterator[tuple[int, int]]:
    yield from ((number, os.getpid()) for number in part)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_each_part_is_done_in_a_process_of_its_own() -> None:
    found = list(forked.spread([range(3), range(3, 5), range(5, 9)], _with_pid))
    assert sorted(number for number, _ in found) == list(range(9))
    pids = {pid for _, pid in found}
    assert len(pids) == 3
    assert os.getpid() not in pids
    assert not any(map(_alive, pids))


def test_errors_arrive_whole() -> None:
    def act(part: str) -> Iterator[ColibriError]:
        yield ColibriError("busy", f"{part} is busy", hint="wait", tenant=part)

    (error,) = forked.spread(["acme"], act)
    assert (error.code, error.message, error.hint) == ("busy", "acme is busy", "wait")
    assert (error.tenant, error.status, error.retryable) == ("acme", 10, True)


@pytest.mark.parametrize("how", ["killed", "raised"])
def test_one_that_ends_early_takes_nothing_from_another(how: str, capfd) -> None:
    def act(part: str) -> Iterator[str]:
        yield f"{part} 1"
        if part == "bad" and how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if part == "bad":
            raise RuntimeError("of the child")
        yield f"{part} 2"

    assert set(forked.spread(["good", "bad", "fine"], act)) == {
        "good 1", "good 2", "bad 1", "fine 1", "fine 2",
    }  # fmt: skip
    assert capfd.readouterr() == ("", "")


def test_stopped_nobody_is_left() -> None:
    def act(part: int) -> Iterator[int]:
        yield os.getpid()
        time.sleep(30)

    results = forked.spread([1, 2], act)
    pids = [next(results), next(results)]
    results.close()
    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


@pytest.mark.parametrize("ignored", [False, True])
def test_asked_to_end_they_end_what_they_began(ignored: bool, tmp_path) -> None:
    def act(part: int) -> Iterator[int]:
        try:
            yield os.getpid()
            time.sleep(30)
        finally:
            (tmp_path / str(part)).touch()

    before = signal.signal(signal.SIGTERM, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        results = forked.spread([1, 2], act)
        assert len({next(results), next(results)}) == 2
        results.close()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def test_one_that_does_not_end_is_killed_and_delays_no_other(monkeypatch) -> None:
    monkeypatch.setattr(forked, "_GRACE_SECONDS", 0.2)

    def act(part: int) -> Iterator[int]:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        yield os.getpid()
        time.sleep(30)

    results = forked.spread([1, 2], act)
    pids = [next(results), next(results)]
    results.close()
    assert not any(map(_alive, pids))


@pytest.mark.parametrize(("where", "what"), [(os, "fork"), (forked, "Pipe")])
def test_where_no_process_can_be_made_it_is_done_here(monkeypatch, where, what) -> None:
    def refused(**_: bool) -> int:
        raise BlockingIOError

    monkeypatch.setattr(where, what, refused)
    found = list(forked.spread([range(2), range(2, 4)], _with_pid))
    assert found == [(number, os.getpid()) for number in range(4)]


def test_when_we_are_killed_so_are_they() -> None:
    script = """
import os, time
from vault_svc.hazmat import forked
def act(part):
    yield os.getpid()
    time.sleep(60)
for pid in forked.spread([1, 2], act):
    print(pid, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as ours:
        assert ours.stdout
        pids = [int(ours.stdout.readline()) for _ in range(2)]
        ours.kill()
    give_up = time.monotonic() + 10
    while any(map(_alive, pids)):
        assert time.monotonic() < give_up
        time.sleep(0.01)
