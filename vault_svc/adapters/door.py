"""The port `HookDoor`: a local socket in a directory of ours, and a child for what comes together.

The process that listens opens no registry and holds no secret. A child that hangs is killed when
the time of its oldest call is up, and delays none of the others.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from vault_svc.adapters import door_place
from vault_svc.adapters.door_call import Call, parsed, send
from vault_svc.hazmat.worker import Worker
from vault_svc.ports.hook_door import HookCall

_TAKEN, _DECLINED = b"+", b"-"
_MAX_BYTES: Final = 1 << 21
_CHUNK: Final = 1 << 16
_MOST_CHILDREN: Final = 64
_MOST_TOGETHER: Final = 64
_MOST_CALLS: Final = 400
"""Of descriptors, which are 1024 where nobody raised the limit; callers beyond do it themselves."""

_WINDOW: Final = 0.1
"""Seconds that calls are gathered while another child works."""
_LATE_SECONDS: Final = 3.0
"""Less than callers wait longer than us: what is recorded of a start is what its caller heard."""

_REAP_SECONDS: Final = 1.0
_MOST_SECONDS: Final = 1e6
"""The kernel's waits take no more than three weeks."""


class _Task:
    """A child and the calls it answers."""

    def __init__(
        self, worker: Worker, calls: dict[int, Call], give_up: float, *, late: bool
    ) -> None:
        self.worker = worker
        self.calls = calls
        self.give_up = give_up
        self.late = late


Fits = Callable[[HookCall], bool]
Handle = Callable[[Sequence[HookCall], bool], None]


class Door:
    """One for each state directory."""

    def __init__(self, directory: str, *, seconds: float, tell: Callable[[str], None]) -> None:
        """Take where the socket is to be, a call's time, and whom to tell that calls may come."""
        self._directory = directory
        self._seconds = seconds
        self._tell = tell
        self._selector = selectors.DefaultSelector()
        self._reading: dict[socket.socket, tuple[bytearray, float]] = {}
        self._waiting: list[Call] = []
        self._tasks: dict[int, _Task] = {}
        self._undead: list[Worker] = []
        self._spare: int | None = None
        self._ending = False

    def serve(self, fits: Fits, handle: Handle) -> None:
        """Answer calls until SIGTERM or SIGINT; then end what has begun. Raises `busy`.

        fits: whether a call is answered here; handle answers calls, in a child, and knows whether
        their time is over already.
        """
        with (
            door_place.asked_to_end(self._selector, self._end),
            door_place.listener(self._directory) as (listener, place),
        ):
            self._selector.register(listener, selectors.EVENT_READ)
            self._keep_a_spare()
            self._tell(f"hooks are served in '{self._directory}'")
            while not self._ending or self._tasks:
                for key, _ in self._selector.select(self._pause()):
                    self._ready(key.fileobj, listener, fits)
                self._look_at_the_clock(handle)
                self._begin(handle)
                if self._ending and listener.fileno() >= 0:
                    self._close(listener, place)

    def _end(self) -> None:
        self._ending = True

    def _close(self, listener: socket.socket, place: int) -> None:
        """Take no more calls; whoever has not been taken does it itself."""
        self._selector.unregister(listener)
        with contextlib.suppress(OSError):  # in our directory, wherever that is by now
            os.unlink(door_place.SOCKET, dir_fd=place)
        listener.close()
        for connection in list(self._reading):
            self._drop(connection)

    def _pause(self) -> float | None:
        """Return the seconds until the next thing that has its time."""
        now = time.monotonic()
        times = [task.give_up for task in self._tasks.values()]
        times += [until for _, until in self._reading.values()]
        if self._waiting:
            times.append(self._waiting[0].since + _WINDOW)
        if self._undead:
            times.append(now + _REAP_SECONDS)
        return min(max(min(times) - now, 0.0), _MOST_SECONDS) if times else None

    def _ready(self, what: object, listener: socket.socket, fits: Fits) -> None:
        if what is listener:
            self._accept(listener)
        elif isinstance(what, socket.socket) and what in self._reading:
            self._read(what, fits)
        elif isinstance(what, int) and what in self._tasks:
            self._hear(what)
        elif isinstance(what, socket.socket) and self._ending:  # what woke us, for good
            self._selector.unregister(what)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError:  # no descriptor for it
                self._turn_away(listener)
                return
            if not door_place.is_ours(connection) or self._full():
                connection.close()
                continue
            connection.setblocking(False)
            self._reading[connection] = bytearray(), time.monotonic() + self._seconds
            self._selector.register(connection, selectors.EVENT_READ)

    def _turn_away(self, listener: socket.socket) -> None:
        """Use the spare descriptor to end one caller's wait: left alone, he would wake us on."""
        if self._spare is None:
            time.sleep(_WINDOW)
        else:
            os.close(self._spare)
            with contextlib.suppress(OSError):
                listener.accept()[0].close()
        self._keep_a_spare()

    def _keep_a_spare(self) -> None:
        try:
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._spare = None

    def _full(self) -> bool:
        held = sum(len(task.calls) for task in self._tasks.values())
        return len(self._reading) + len(self._waiting) + held >= _MOST_CALLS

    def _read(self, connection: socket.socket, fits: Fits) -> None:
        said, _ = self._reading[connection]
        try:
            chunk = connection.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self._drop(connection)
            return
        said += chunk
        if len(said) > _MAX_BYTES:
            self._drop(connection)
        elif not chunk:
            self._forget(connection)
            self._take(connection, bytes(said), fits)

    def _forget(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._reading[connection]

    def _drop(self, connection: socket.socket) -> None:
        self._forget(connection)
        connection.close()

    def _take(self, connection: socket.socket, said: bytes, fits: Fits) -> None:
        call = parsed(connection, said)
        if call is None or len(self._tasks) >= _MOST_CHILDREN or not fits(call):
            send(connection, _DECLINED)
            connection.close()
        elif send(connection, _TAKEN):
            self._waiting.append(call)
        else:
            connection.close()

    def _begin(self, handle: Handle) -> None:
        now = time.monotonic()
        while self._waiting and (
            not self._tasks or self._ending or now - self._waiting[0].since >= _WINDOW
        ):
            calls = self._waiting[:_MOST_TOGETHER]
            del self._waiting[:_MOST_TOGETHER]
            self._start(calls, handle, calls[0].since + self._seconds, late=False)

    def _start(self, calls: Sequence[Call], handle: Handle, until: float, *, late: bool) -> None:
        def act(done: Callable[[int], None]) -> None:
            for number, call in enumerate(calls):
                call.tell = partial(done, number)
            handle(calls, late)

        mine = {call.connection.fileno() for call in calls}
        others = [fd for fd in self._open() if fd not in mine]
        try:
            worker = Worker(act, others)
        except OSError:  # no process to be had: each does it itself
            for call in calls:
                call.connection.close()
            return
        self._tasks[worker.fileno()] = _Task(worker, dict(enumerate(calls)), until, late=late)
        self._selector.register(worker.fileno(), selectors.EVENT_READ)

    def _open(self) -> Iterator[int]:
        """Return the descriptors that are no child's business."""
        for key in self._selector.get_map().values():
            yield key.fd
        for call in self._waiting:
            yield call.connection.fileno()
        for task in self._tasks.values():
            for call in task.calls.values():
                yield call.connection.fileno()

    def _hear(self, fd: int) -> None:
        task = self._tasks[fd]
        told = task.worker.told()
        if told is None:
            for call in self._finish(fd):
                call.connection.close()
            return
        for number in told:
            task.calls.pop(number).connection.close()

    def _finish(self, fd: int) -> list[Call]:
        """End a child; return its calls without an answer, whose callers see that it broke off."""
        task = self._tasks.pop(fd)
        self._selector.unregister(fd)
        for number in task.worker.end():
            task.calls.pop(number).connection.close()
        if not task.worker.is_gone():
            self._undead.append(task.worker)
        return list(task.calls.values())

    def _look_at_the_clock(self, handle: Handle) -> None:
        self._undead = [worker for worker in self._undead if not worker.is_gone()]
        now = time.monotonic()
        for connection in [each for each, (_, until) in self._reading.items() if now >= until]:
            self._drop(connection)
        for fd in [fd for fd, task in self._tasks.items() if now >= task.give_up]:
            late = self._tasks[fd].late
            calls = self._finish(fd)
            if calls and not late:
                self._start(calls, handle, now + _LATE_SECONDS, late=True)
            else:
                for call in calls:
                    call.connection.close()
