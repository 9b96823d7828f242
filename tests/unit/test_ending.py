"""Signals that end us, put off for a moment thousands of times, act once that moment is over."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from vault_svc.hazmat.ending import NUMBERS, deferred, gated


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers are what they were when the test is over."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    assert {number: signal.getsignal(number) for number in NUMBERS} == before


def test_it_acts_at_once_where_nothing_is_put_off() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), gated():
        signal.raise_signal(signal.SIGINT)
        done.append("on")
    assert done == []


def test_it_waits_for_the_outermost_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), gated():
        with deferred():
            with deferred():
                signal.raise_signal(signal.SIGINT)
            done.append("inner")
        done.append("on")
    assert done == ["inner"]


def test_behind_a_gate_no_handler_is_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    with gated():
        monkeypatch.setattr(signal, "signal", None)
        monkeypatch.setattr(signal, "pthread_sigmask", None)
        for _ in range(3):
            with deferred():
                pass
        monkeypatch.undo()


def test_a_second_signal_is_not_lost_when_the_first_ones_handler_raises() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        with pytest.raises(KeyboardInterrupt), gated(), deferred():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [signal.SIGTERM]


def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with gated(), deferred():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
