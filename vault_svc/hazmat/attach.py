"""A program run in our place: its output passes through us, our signals go to it.

Rule bent: a child of unlimited time and output, and signals acted on in handlers. Why that is
safe: it gets pipes, never a descriptor of ours (a terminal's would let it type for us, TIOCSTI);
the kernel kills it if we are killed; what its session left is killed when it ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import IO, Any, Final

from vault_svc.domain.receipt import Owner
from vault_svc.hazmat import proc
from vault_svc.hazmat.proc import Limits

_CHUNK: Final = 65_536
_TICK_SECONDS: Final = 0.05
_DRAIN_SECONDS: Final = 1.0
_ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_PASSED_ON: Final = (*_ENDING, signal.SIGUSR1, signal.SIGUSR2)
_STDIN, _STDOUT, _STDERR = 0, 1, 2


PassOn = Callable[[int], None]


class Signals:
    """Signals that came while they were held: noted, and passed on to a program if one runs."""

    def __init__(self) -> None:
        """Begin with none."""
        self.ending: int | None = None
        self._since = 0.0
        self._pass_on: PassOn | None = None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Take a signal; a handler of signal(2)."""
        del frame
        if number in _ENDING and self.ending is None:
            self.ending, self._since = number, time.monotonic()
        if self._pass_on:
            self._pass_on(number)

    def overdue(self, grace_seconds: float) -> bool:
        """Say whether the program was asked to end and had its time for that."""
        return self.ending is not None and time.monotonic() - self._since > grace_seconds

    @contextmanager
    def towards(self, pass_on: PassOn) -> Iterator[None]:
        """Pass signals on in the block, also the one that came before it."""
        self._pass_on = pass_on
        if self.ending is not None:
            pass_on(self.ending)
        try:
            yield
        finally:
            self._pass_on = None


_held: list[Signals] = []


@contextmanager
def signals_held() -> Iterator[Signals]:
    """Note signals in the block instead of acting on them; ignored ones stay ignored.

    Only in the main thread. What was noted is the caller's to act on.
    """
    noted = Signals()
    before: dict[int, Any] = {}
    _held.append(noted)
    try:
        for each in _PASSED_ON:
            if signal.getsignal(each) not in {signal.SIG_IGN, None}:
                before[each] = signal.signal(each, noted.note)
        yield noted
    finally:
        _held.remove(noted)
        for number, handler in before.items():
            signal.signal(number, handler)


def attached(
    argv: Sequence[str],
    *,
    user: Owner | None = None,
    cwd_fd: int | None = None,
    limits: Limits | None = None,
    env: Mapping[str, str] | None = None,
    pass_on: PassOn | None = None,
    inside: bool = False,
    grace_seconds: float = 10.0,
) -> int:
    """Run argv to its end and return its exit status, 128 + n for a signal n.

    Within `signals_held` signals are passed on; an ending one kills it after grace_seconds.
    inside: signals are for what runs in the program, which is only an entrance; pass_on: or for
    whatever that finds. Our stdin is passed to it unless it is a terminal.
    Raises `helper_missing`, `busy`.
    """
    hook = proc.between(cwd_fd, limits or Limits(), tied=True)
    given = b"" if _has_input() else None
    child = proc.started(argv, dict(env or {}), given, user, None, hook, ())
    noted = _held[-1] if _held else Signals()
    try:
        with noted.towards(pass_on or _to(child.pid, inside=inside)):
            _Pump(child).run(lambda: noted.overdue(grace_seconds))
    finally:
        proc.kill_session(child.pid)
        _drain(child)
        status = proc.end(child)
    return status if status >= 0 else 128 - status


def _has_input() -> bool:
    try:
        return not os.isatty(_STDIN) and os.fstat(_STDIN).st_ino > 0
    except OSError:
        return False


class _Pump:
    """Moves bytes until the program ends; a reader of ours that goes closes the pipe behind it."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        self._outputs: dict[int, tuple[IO[bytes], int]] = {}
        for pipe, ours in ((child.stdout, _STDOUT), (child.stderr, _STDERR)):
            if pipe is not None:
                self._outputs[pipe.fileno()] = (pipe, ours)
        self._input = child.stdin
        self._pending = b""
        if self._input is not None:
            os.set_blocking(self._input.fileno(), False)

    def run(self, give_up: Any) -> None:
        with proc.end_of(self._child.pid) as end:
            while not proc.has_ended(self._child.pid):
                if give_up():
                    return
                self._step(end)

    def _step(self, end: int | None) -> None:
        poll = select.poll()
        for fd in self._outputs:
            poll.register(fd, select.POLLIN)
        if end is not None:
            poll.register(end, select.POLLIN)
        if self._input is not None:
            waiting = self._input.fileno() if self._pending else _STDIN
            poll.register(waiting, select.POLLOUT if self._pending else select.POLLIN)
        for fd, _ in poll.poll(_TICK_SECONDS * 1000):
            if fd in self._outputs:
                self._move(fd)
            elif fd != end:
                self._feed()

    def _move(self, fd: int) -> None:
        pipe, ours = self._outputs[fd]
        chunk = os.read(fd, _CHUNK)
        if not chunk or not _write(ours, chunk):
            del self._outputs[fd]
            pipe.close()

    def _feed(self) -> None:
        pipe = self._input
        if pipe is None:
            return
        try:
            if not self._pending:
                self._pending = os.read(_STDIN, _CHUNK)
            if self._pending:
                self._pending = self._pending[os.write(pipe.fileno(), self._pending) :]
                return
        except BlockingIOError:
            return
        except OSError:  # it reads no more, or we have no more
            self._pending = b""
        self._input = None
        with contextlib.suppress(OSError):
            pipe.close()


def _drain(child: subprocess.Popen[bytes]) -> None:
    """Pass on what still lies in the pipes; whoever keeps them open longer is not waited for."""
    give_up = time.monotonic() + _DRAIN_SECONDS
    for pipe, ours in ((child.stdout, _STDOUT), (child.stderr, _STDERR)):
        while pipe is not None and not pipe.closed:
            left = max(give_up - time.monotonic(), 0.0)
            if not select.select([pipe], [], [], left)[0]:
                break
            chunk = os.read(pipe.fileno(), _CHUNK)
            if not chunk or not _write(ours, chunk):
                break


def _write(fd: int, chunk: bytes) -> bool:
    """Write all of it; return False when nobody reads any more."""
    left = memoryview(chunk)
    try:
        while left:
            left = left[os.write(fd, left) :]
    except OSError:
        return False
    return True


def _to(child: int, *, inside: bool) -> PassOn:
    def to_group(number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, number)

    def to_inside(number: int) -> None:
        for pid, parent in _below(child):
            _signal(pid, parent, number)

    return to_inside if inside and sys.platform == "linux" else to_group


def _signal(pid: int, parent: int, number: int) -> None:
    """Signal a process that still has this parent: a number may be another's by now."""
    with contextlib.suppress(OSError):
        fd = os.pidfd_open(pid)
        try:
            if _parents().get(pid) == parent:
                signal.pidfd_send_signal(fd, number)
        finally:
            os.close(fd)


def _below(leader: int) -> list[tuple[int, int]]:
    """Return the descendants of a process, each with its parent."""
    parents = _parents()
    found: list[tuple[int, int]] = []
    level = {leader}
    while level:
        below = [(pid, parent) for pid, parent in parents.items() if parent in level]
        found += below
        level = {pid for pid, _ in below}
    return found


def _parents() -> dict[int, int]:
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as line:
            found[int(name)] = int(line.read().rpartition(b")")[2].split()[1])
    return found
