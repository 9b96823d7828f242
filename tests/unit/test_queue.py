"""Requests that wait for the same thing are served together, each with its own answer."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from vault_svc.adapters import queue as adapter
from vault_svc.adapters.queue import FileQueue

PATIENCE = 20


@pytest.fixture
def queue(state_dir: Path) -> FileQueue:
    return FileQueue(str(state_dir / "hooks"), at_once=64)


Answers = Iterator[tuple[int, bytes] | None]


def _echo(asked: Sequence[bytes]) -> Answers:
    for number, each in enumerate(asked):
        yield number, b"answer to " + each


def _until(true: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def _names(queue: FileQueue, suffix: str) -> list[str]:
    return [name for name in os.listdir(queue._path) if name.endswith(suffix)]


def _child(act: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(0)
    return child


def _forever(_: Sequence[bytes]) -> Answers:
    time.sleep(PATIENCE)
    yield from ()


def test_those_who_wait_are_served_in_one_go_each_with_its_own_answer(queue):
    rounds: list[int] = []
    leading = threading.Event()

    def serve(asked: Sequence[bytes]) -> Answers:
        rounds.append(len(asked))
        if len(rounds) == 1:  # the first holds the others up until all of them wait
            leading.set()
            _until(lambda: len(_names(queue, ".ask")) == 10)
        yield from _echo(asked)

    answers: dict[int, bytes] = {}

    def one(number: int) -> None:
        answers[number] = queue.ask("embedded", b"%d" % number, serve)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
        assert leading.wait(PATIENCE)  # who starts beside the first may be in its round
    for thread in threads:
        thread.join()
    assert answers == {number: b"answer to %d" % number for number in range(10)}
    assert rounds == [1, 9]
    assert os.listdir(queue._path) == ["embedded.lead"]


def test_no_more_than_the_limit_are_served_in_one_go(state_dir):
    queue = FileQueue(str(state_dir / "hooks"), at_once=2)
    rounds: list[int] = []

    def serve(asked: Sequence[bytes]) -> Answers:
        rounds.append(len(asked))
        if len(rounds) == 1:
            _until(lambda: len(_names(queue, ".ask")) == 6)
        yield from _echo(asked)

    threads = [threading.Thread(target=queue.ask, args=("a", b"x", serve)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(rounds) == 6
    assert max(rounds) == 2


def test_another_source_is_not_waited_for(queue):
    held = _child(lambda: queue.ask("vaultwarden", b"slow", _forever))
    try:
        _until(lambda: bool(os.path.isdir(queue._path) and _names(queue, ".ask")))
        assert queue.ask("embedded", b"quick", _echo) == b"answer to quick"
    finally:
        os.kill(held, signal.SIGKILL)
        os.waitpid(held, 0)


def test_killed_while_it_serves_the_next_one_serves(queue):
    killed = _child(lambda: queue.ask("embedded", b"first", _forever))
    _until(lambda: bool(os.path.isdir(queue._path) and _names(queue, ".ask")))
    time.sleep(0.05)
    said: list[bytes] = []
    waiting = threading.Thread(target=lambda: said.append(queue.ask("embedded", b"second", _echo)))
    waiting.start()
    _until(lambda: len(_names(queue, ".ask")) == 2)
    os.kill(killed, signal.SIGKILL)
    os.waitpid(killed, 0)
    waiting.join(PATIENCE)
    assert said == [b"answer to second"]
    assert os.listdir(queue._path) == ["embedded.lead"]


def test_nobody_is_served_who_is_gone(queue):
    queue.ask("embedded", b"x", _echo)
    for suffix in (".ask", ".fresh", ".answer"):
        left = Path(queue._path, f"embedded-dead{suffix}")
        left.write_bytes(b"dead")
        left.chmod(0o600)
    seen: list[bytes] = []

    def serve(asked: Sequence[bytes]) -> Answers:
        seen.extend(asked)
        yield from _echo(asked)

    assert queue.ask("embedded", b"alive", serve) == b"answer to alive"
    assert seen == [b"alive"]
    assert os.listdir(queue._path) == ["embedded.lead"]


def test_files_are_ours_alone(queue):
    old = os.umask(0)
    try:
        modes: list[int] = []

        def serve(asked: Sequence[bytes]) -> Answers:
            entries = [Path(queue._path, name) for name in os.listdir(queue._path)]
            modes.extend(entry.stat().st_mode & 0o777 for entry in entries)
            yield from _echo(asked)

        queue.ask("embedded", b"x", serve)
    finally:
        os.umask(old)
    assert set(modes) == {0o600}
    assert Path(queue._path).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("call", ["_write", "hostfiles.make_directory"])
def test_on_a_full_disk_it_is_served_alone(queue, monkeypatch, call):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(f"vault_svc.adapters.queue.{call}", full)
    assert queue.ask("embedded", b"x", _echo) == b"answer to x"


def test_who_waits_for_something_else_keeps_nobody_and_is_kept_by_nobody(queue):
    """One whose tenant is at work elsewhere, and one that came beside it and is done."""
    free, done = threading.Event(), threading.Event()

    def serve(asked: Sequence[bytes]) -> Answers:
        _until(lambda: done.is_set() or len(_names(queue, ".ask")) == 2)
        yield from ((number, each) for number, each in enumerate(asked) if each != b"busy")
        if b"busy" in asked:
            yield None
            assert free.wait(PATIENCE)
            yield asked.index(b"busy"), b"busy"

    said: list[bytes] = []

    def ask(word: bytes) -> threading.Thread:
        thread = threading.Thread(target=lambda: said.append(queue.ask("embedded", word, serve)))
        thread.start()
        return thread

    busy, beside = ask(b"busy"), ask(b"beside")
    beside.join(PATIENCE)
    done.set()
    later = ask(b"later")
    later.join(PATIENCE)
    assert said == [b"beside", b"later"]
    free.set()
    busy.join(PATIENCE)
    assert said == [b"beside", b"later", b"busy"]
    assert os.listdir(queue._path) == ["embedded.lead"]


@pytest.mark.parametrize("call", ["os.rename", "opened_and_locked"])
def test_on_a_disk_that_fills_up_meanwhile_it_is_served_alone(queue, monkeypatch, call):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(f"vault_svc.adapters.queue.{call}", full)
        assert queue.ask("embedded", b"x", _echo) == b"answer to x"
    assert os.listdir(queue._path) == []


def _three(queue: FileQueue) -> tuple[list[int], dict[bytes, bytes]]:
    """Return how many were served in each round, and the answers; two come while one is served."""
    rounds: list[int] = []
    leading = threading.Event()

    def serve(asked: Sequence[bytes]) -> Answers:
        rounds.append(len(asked))
        leading.set()
        _until(lambda: len(_names(queue, ".ask")) == 3 or len(rounds) > 1)
        yield from _echo(asked)

    answers: dict[bytes, bytes] = {}

    def ask(word: bytes) -> None:
        answers[word] = queue.ask("embedded", word, serve)

    threads = [threading.Thread(target=ask, args=(word,)) for word in (b"1", b"2", b"3")]
    for thread in threads:
        thread.start()
        assert leading.wait(PATIENCE)
    for thread in threads:
        thread.join(PATIENCE)
    return rounds, answers


EACH_ITS_OWN = {word: b"answer to " + word for word in (b"1", b"2", b"3")}


def test_an_answer_that_can_not_be_written_down_is_not_lost_on_who_has_it(queue, monkeypatch):
    real = adapter._write

    def full(parent: int, name: str, content: bytes, **more: bool) -> int:
        if content.startswith(b"answer"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(parent, name, content, **more)

    monkeypatch.setattr(adapter, "_write", full)
    rounds, answers = _three(queue)
    assert answers == EACH_ITS_OWN
    assert sum(rounds) <= len(answers) + 1, "who has its answer asks for no other"


def test_an_answer_that_is_swept_before_it_is_locked_is_asked_for_again(queue, monkeypatch):
    """Whoever leads after the lead was given back sweeps while the one before still answers."""
    real = adapter.fcntl.flock
    swept: list[str] = []

    def flock(fd: int, how: int) -> None:
        name = os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))
        if name.endswith(f"-{os.getpid()}.fresh") and name not in swept:
            swept.append(name)
            parent = os.open(queue._path, os.O_RDONLY)
            adapter._sweep(parent, "embedded")
            os.close(parent)
        real(fd, how)

    monkeypatch.setattr(adapter.fcntl, "flock", flock)
    rounds, answers = _three(queue)
    assert answers == EACH_ITS_OWN
    assert sum(rounds) <= len(answers) + 1
    assert len(swept) == 3
