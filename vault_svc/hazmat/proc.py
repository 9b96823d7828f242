"""The one subprocess runner: argument list, explicit environment, bounded, killed whole.

Rule bent: subprocess, and code between fork and exec. Why that is safe: no shell, no inherited
environment or descriptor, and the hook between fork and exec makes nothing but system calls.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Final

from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError, printable
from vault_svc.hazmat import ending
from vault_svc.hazmat.tie import tie_to

_CHUNK: Final = 65_536
_TICK_SECONDS: Final = 0.05  # how soon an end is seen where the kernel has no pidfd
_NOT_RUNNABLE: Final = frozenset(
    {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENOEXEC, errno.ELOOP}
)
_KILL_ROUNDS: Final = 200


@dataclass(frozen=True, slots=True)
class Limits:
    """Resource limits of a child (setrlimit(2)); None leaves what we have."""

    memory_bytes: int | None = None
    processes: int | None = None
    file_bytes: int | None = None
    cpu_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """Exit status (negative: the signal), output, and whether it was killed for too much of it."""

    status: int
    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)
    overflow: bool = False


def run(
    argv: Sequence[str],
    *,
    timeout_seconds: float,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    max_output_bytes: int = 1 << 20,
    user: Owner | None = None,
    cwd: str | None = None,
    cwd_fd: int | None = None,
    limits: Limits | None = None,
    pass_fds: Sequence[int] = (),
    tied: bool = False,
    meanwhile: Callable[[], object] | None = None,
    wanted: Callable[[], bool] = lambda: True,
) -> Finished:
    """Run argv[0], an absolute path or a name in the system's own directories, to its end.

    env is empty unless given; stdin is closed, or given through a pipe; stdout and stderr
    together may have max_output_bytes; pass_fds are the only descriptors it inherits. The child
    has a session of its own, which is killed whole however this ends; tied, the kernel kills it
    even if we are killed. meanwhile is called once it has started; once it is not wanted any more
    it is ended as if its time were over.

    Raises `helper_missing`, `helper_timeout`, `busy`; messages name the program, never its
    arguments or its output.
    """
    if cwd is not None and cwd_fd is not None:
        raise ValueError("one working directory, by path or by descriptor")
    hook = between(cwd_fd, limits or Limits(), tied=tied)
    give_up = time.monotonic() + timeout_seconds
    child = started(argv, dict(env or {}), stdin, user, cwd, hook, pass_fds)
    try:
        if meanwhile is not None:
            meanwhile()
        streams = _Streams(child, stdin or b"", max_output_bytes)
        in_time = streams.pump(give_up, wanted)
    finally:
        status = end(child)
    if not in_time:
        raise ColibriError(
            "helper_timeout", f"{_shown(argv)} did not end within {timeout_seconds:g} s"
        )
    return Finished(status, bytes(streams.stdout), bytes(streams.stderr), streams.overflow)


class Background:
    """A program that runs beside us; its output is taken while we wait for it."""

    def __init__(self, child: subprocess.Popen[bytes], name: str, max_output_bytes: int) -> None:
        """Take the started child; `background` is the way to get one."""
        self._child = child
        self._name = name
        self._streams = _Streams(child, b"", max_output_bytes)

    @property
    def stderr(self) -> bytes:
        """What it has written to stderr so far, to the last byte that lies in the pipe."""
        self._streams.drain()
        return bytes(self._streams.stderr)

    def wait_readable(self, fd: int, give_up: float) -> bool:
        """Wait until fd can be read; return False when the program ended before that.

        give_up is a time of time.monotonic(). Raises `helper_timeout`, and `source_incomplete`
        for more output than is allowed.
        """
        while not self._streams.overflow:
            left = give_up - time.monotonic()
            if left <= 0:
                raise ColibriError("helper_timeout", f"{self._name} did not answer in time")
            if self._streams.pump_beside(fd, min(left, _TICK_SECONDS)):
                return True
            if has_ended(self._child.pid):
                return self._streams.pump_beside(fd, 0)
        raise ColibriError("source_incomplete", f"{self._name} wrote more than is allowed")


@contextlib.contextmanager
def background(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    pass_fds: Sequence[int] = (),
    max_output_bytes: int = 1 << 20,
    limits: Limits | None = None,
) -> Iterator[Background]:
    """Run a program beside the block, tied to us; kill its session whole at the block's end.

    Raises `helper_missing`, `busy`.
    """
    hook = between(None, limits or Limits(), tied=True)
    child = started(argv, dict(env), None, None, None, hook, pass_fds)
    try:
        yield Background(child, _shown(argv), max_output_bytes)
    finally:
        end(child)


def end(child: subprocess.Popen[bytes]) -> int:
    """Kill what is left of a child's session and return the child's status."""
    # The leader is reaped last: until then its number names no other session.
    kill_session(child.pid)
    status = child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        _close(pipe)
    return status


def started(
    argv: Sequence[str],
    env: dict[str, str],
    stdin: bytes | None,
    user: Owner | None,
    cwd: str | None,
    hook: Callable[[], None],
    pass_fds: Sequence[int],
) -> subprocess.Popen[bytes]:
    """Start a child with pipes and a session of its own; raise `helper_missing`, `busy`."""
    try:
        return subprocess.Popen(
            list(argv),
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            close_fds=True,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
            user=None if user is None else user.uid,
            group=None if user is None else user.gid,
            extra_groups=None if user is None else (),
            preexec_fn=hook,  # noqa: PLW1509 - it makes system calls and takes no lock
        )
    except ValueError:
        raise ColibriError("usage", f"{_shown(argv)} was given a NUL character") from None
    except (OSError, subprocess.SubprocessError) as error:
        number = getattr(error, "errno", None)
        if number in _NOT_RUNNABLE:
            raise ColibriError(
                "helper_missing", f"{_shown(argv)} cannot be run: {os.strerror(number)}"
            ) from None
        raise ColibriError("busy", f"{_shown(argv)} could not be started") from None


def between(cwd_fd: int | None, limits: Limits, *, tied: bool) -> Callable[[], None]:
    """Return what a child does between fork and exec: system calls only."""
    wanted = (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_NPROC, limits.processes),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_CORE, 0),
    )

    tie = tie_to(os.getpid()) if tied else None

    def between_fork_and_exec() -> None:
        if tie is not None:
            tie()
        if cwd_fd is not None:
            os.fchdir(cwd_fd)
        for kind, limit in wanted:
            if limit is not None:
                hard = resource.getrlimit(kind)[1]
                lower = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
                resource.setrlimit(kind, (lower, lower))

    return between_fork_and_exec


class _Streams:
    """Feeds stdin and collects output until the program ends, or time or room runs out."""

    def __init__(self, child: subprocess.Popen[bytes], stdin: bytes, max_bytes: int) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.overflow = False
        self._child = child
        self._stdin = memoryview(stdin)
        self._room = max_bytes
        self._closed: set[object] = set()

    def pump(self, give_up: float, wanted: Callable[[], bool]) -> bool:
        """Return whether the program ended, or was stopped for its output, before give_up."""
        with selectors.DefaultSelector() as selector, end_of(self._child.pid) as end:
            self._register(selector, end)
            ended = False
            while not self.overflow:
                ending.check()
                left = give_up - time.monotonic()
                if not ended and (left <= 0 or not wanted()):
                    return False
                # Once it has ended only what already lies in the pipes is taken.
                ready = selector.select(0 if ended else min(left, _TICK_SECONDS))
                for key, _ in ready:
                    self._serve(selector, key)
                if ended and not any(key.data is not None for key, _ in ready):
                    return True
                ended = ended or has_ended(self._child.pid)
        return True

    def drain(self) -> None:
        """Take all output that is there already, without waiting."""
        with selectors.DefaultSelector() as selector:
            self._register(selector, None)
            while not self.overflow and (ready := selector.select(0)):
                for key, _ in ready:
                    self._serve(selector, key)

    def pump_beside(self, fd: int, seconds: float) -> bool:
        """Take output for so long at most; return at once, with True, when fd can be read."""
        ending.check()
        with selectors.DefaultSelector() as selector, end_of(self._child.pid) as end:
            self._register(selector, end)
            selector.register(fd, selectors.EVENT_READ, None)
            ready = selector.select(seconds)
            for key, _ in ready:
                if key.data is not None:
                    self._serve(selector, key)
            return any(key.fd == fd for key, _ in ready)

    def _register(self, selector: selectors.BaseSelector, end: int | None) -> None:
        child = self._child
        if end is not None:
            selector.register(end, selectors.EVENT_READ)
        assert child.stdout is not None  # noqa: S101 - both are pipes
        assert child.stderr is not None  # noqa: S101
        for pipe, taken in ((child.stdout, self.stdout), (child.stderr, self.stderr)):
            if pipe not in self._closed:
                selector.register(pipe, selectors.EVENT_READ, taken)
        if child.stdin is not None:
            os.set_blocking(child.stdin.fileno(), False)
            selector.register(child.stdin, selectors.EVENT_WRITE)

    def _serve(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        pipe = key.fileobj
        if pipe is self._child.stdin:
            if self._feed(key.fd):
                return
        elif key.data is not None:
            chunk = os.read(key.fd, min(_CHUNK, self._room + 1))
            self._room -= len(chunk)
            if self._room < 0:
                self.overflow = True
                chunk = chunk[: self._room]
            key.data.extend(chunk)
            if chunk:
                return
        selector.unregister(pipe)
        self._closed.add(pipe)
        if pipe is self._child.stdin:
            _close(self._child.stdin)

    def _feed(self, fd: int) -> bool:
        """Write a piece; return whether there is more to write to somebody who reads."""
        try:
            self._stdin = self._stdin[os.write(fd, self._stdin[:_CHUNK]) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        return bool(self._stdin)


@contextlib.contextmanager
def end_of(pid: int) -> Iterator[int | None]:
    """Give a descriptor that becomes readable when pid ends (pidfd_open(2)), where there is one."""
    try:
        fd = os.pidfd_open(pid)
    except (AttributeError, OSError):
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        with contextlib.suppress(OSError):
            pipe.close()


def has_ended(pid: int) -> bool:
    """Say whether the child has ended, and leave it unreaped."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def kill_session(leader: int) -> None:
    """Kill every process of the child's session, also those in process groups of their own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    if sys.platform != "linux":
        return
    # Whoever is killed can't fork any more, so the second look finds nobody, or late-born ones.
    for _ in range(_KILL_ROUNDS):
        members = _session_members(leader)
        if not members:
            return
        for pid in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)


def _session_members(leader: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            state, session = _state_and_session(int(name))
            if session == leader and state not in "ZX":
                found.append(int(name))
    return found


def _state_and_session(pid: int) -> tuple[str, int]:
    try:
        with open(f"/proc/{pid}/stat", "rb") as line:
            # The name in parentheses may hold anything, also parentheses (proc_pid_stat(5)).
            fields = line.read().rpartition(b")")[2].split()
    except OSError:
        return "X", 0
    return fields[0].decode("ascii"), int(fields[3])


def _shown(argv: Sequence[str]) -> str:
    return f"'{printable(os.path.basename(argv[0]))}'"
