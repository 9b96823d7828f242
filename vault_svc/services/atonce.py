"""One thing after another, and several at once only while one of them takes long."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Final, TypeVar

T = TypeVar("T")
_PATIENCE_SECONDS: Final = 0.02


def each(items: Sequence[T], act: Callable[[T], None], *, at_once: int) -> None:
    """Do act for every item; whoever waits for a slow disk delays no other for long.

    Another thread, up to at_once, takes over whenever none got anything done for 20 ms: threads
    that never wait only take turns. Raises the first exception of act when all are through.
    """
    if at_once <= 1 or len(items) <= 1:
        for item in items:
            act(item)
        return
    left, failed = deque(items), list[BaseException]()
    threads: list[Thread] = []
    try:
        while left:
            if len(threads) < at_once and (more := _started(left, act, failed)):
                threads.append(more)
            if not threads:  # no thread is to be had
                _drain(left, act, failed)
            else:
                _until_stuck(threads, left)
    finally:
        left.clear()
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]


def _started(
    left: deque[T], act: Callable[[T], None], failed: list[BaseException]
) -> Thread | None:
    thread = Thread(target=_drain, args=(left, act, failed), name="writer")
    try:
        thread.start()
    except RuntimeError:  # as many as this system allows
        return None
    return thread


def _until_stuck(threads: Sequence[Thread], left: deque[T]) -> None:
    before = -1
    while left and len(left) != before:
        before = len(left)
        threads[0].join(_PATIENCE_SECONDS)


def _drain(left: deque[T], act: Callable[[T], None], failed: list[BaseException]) -> None:
    while True:
        try:
            item = left.popleft()
        except IndexError:
            return
        try:
            act(item)
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            failed.append(error)
