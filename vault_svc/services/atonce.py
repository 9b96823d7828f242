"""One thing after another, and several at once only while one of them takes long."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from threading import Event, Thread
from typing import Final, TypeVar

T = TypeVar("T")
_PATIENCE_SECONDS: Final = 0.02


class Worker:
    """A thread that can be waited for even after the wait was interrupted.

    Thread.join takes a thread for ended once an exception came while it was waited for.
    """

    def __init__(self, act: Callable[[], None], name: str) -> None:
        """Start a thread that does act; raise RuntimeError where there can be no more."""
        self._over = Event()
        self._act = act
        self.failed: BaseException | None = None
        Thread(target=self._do, name=name).start()

    def _do(self) -> None:
        try:
            self._act()
        except BaseException as error:  # noqa: BLE001 - told by who asks; a thread would print it
            self.failed = error
        finally:
            self._over.set()

    @property
    def is_over(self) -> bool:
        """Whether act is done."""
        return self._over.is_set()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until it is over, or so long."""
        self._over.wait(seconds)


def outlast(workers: Sequence[Worker]) -> None:
    """Wait until all are over, whatever comes; raise what came then."""
    came: BaseException | None = None
    while not all(worker.is_over for worker in workers):
        try:
            for worker in workers:
                worker.wait()
        except BaseException as error:  # noqa: BLE001 - raised again when they are over
            came = error
    if came is not None:
        raise came


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
    threads: list[Worker] = []
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
        outlast(threads)
    if failed:
        raise failed[0]


def _started(
    left: deque[T], act: Callable[[T], None], failed: list[BaseException]
) -> Worker | None:
    try:
        return Worker(partial(_drain, left, act, failed), "writer")
    except RuntimeError:  # as many as this system allows
        return None


def _until_stuck(threads: Sequence[Worker], left: deque[T]) -> None:
    before = -1
    while left and len(left) != before:
        before = len(left)
        threads[0].wait(_PATIENCE_SECONDS)


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
