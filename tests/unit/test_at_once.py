"""Many things: in turn while they are quick, beside one another while one is slow."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from vault_svc.services import atonce


def test_what_is_quick_is_done_in_order_by_one() -> None:
    done: list[int] = []
    who: set[str] = set()

    def act(number: int) -> None:
        done.append(number)
        who.add(threading.current_thread().name)

    atonce.each(range(200), act, at_once=8)
    assert done == list(range(200))
    assert len(who) == 1


@pytest.mark.parametrize("at_once", [1, 8])
def test_what_is_stuck_delays_no_other_unless_only_one_may_work(at_once: int) -> None:
    others = threading.Event()
    done: list[int] = []

    def act(number: int) -> None:
        if number == 0:
            others.wait(0.2 if at_once == 1 else 20)
        done.append(number)
        if len(done) == 9:
            others.set()

    atonce.each(range(10), act, at_once=at_once)
    assert done[0 if at_once == 1 else -1] == 0
    assert sorted(done) == list(range(10))


def test_no_more_than_the_limit_work_at_once() -> None:
    busy, most = 0, 0
    guard = threading.Lock()

    def act(_: int) -> None:
        nonlocal busy, most
        with guard:
            busy += 1
            most = max(most, busy)
        time.sleep(0.06)
        with guard:
            busy -= 1

    atonce.each(range(12), act, at_once=3)
    assert most == 3


def test_a_failure_is_told_when_all_are_through() -> None:
    done: list[int] = []

    def act(number: int) -> None:
        if number == 1:
            raise MemoryError
        done.append(number)

    with pytest.raises(MemoryError):
        atonce.each(range(5), act, at_once=2)
    assert done == [0, 2, 3, 4]


def test_stopped_it_waits_for_what_is_under_way_and_begins_no_more(monkeypatch) -> None:
    done: list[int] = []

    def act(number: int) -> None:
        time.sleep(0.05)
        done.append(number)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(atonce, "_until_stuck", interrupted)
    with pytest.raises(KeyboardInterrupt):
        atonce.each(range(100), act, at_once=2)
    assert len(done) <= 2
    before = list(done)
    time.sleep(0.1)
    assert done == before


def test_interrupted_it_waits_for_what_is_at_work_and_begins_nothing_more():
    """What is at work has descriptors that the caller closes when the exception reaches it."""
    begun, over = [], []

    def act(item):
        begun.append(item)
        time.sleep(0.3)
        over.append(item)

    def stopped(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stopped)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.05)
        with pytest.raises(KeyboardInterrupt):
            atonce.each(range(9), act, at_once=2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(begun) < 9
    assert sorted(over) == sorted(begun)
