"""Where hooks find whoever serves them, and how that one is asked to end."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Final

from vault_svc.errors import ColibriError
from vault_svc.hazmat import hostfiles
from vault_svc.hazmat.filelock import opened_and_owned
from vault_svc.hazmat.peercred import peer_uid

SOCKET: Final = "serve.sock"
_LOCK: Final = "serve.lock"
_UNSAFE: Final = "unsafe_base"
_BACKLOG: Final = 512


@contextlib.contextmanager
def listener(directory: str) -> Iterator[tuple[socket.socket, int]]:
    """Listen in the directory, made when first needed; raise `busy` where another one does.

    Yields the directory's descriptor, too.
    """
    hostfiles.make_directory(directory, _UNSAFE)
    with hostfiles.directory(directory, _UNSAFE) as parent:
        try:
            lock = opened_and_owned(parent, _LOCK)
        except OSError as error:
            raise hostfiles.explain(error, "busy", directory) from error
        if lock is None:
            raise ColibriError("busy", "another process serves hooks here", hint="one is enough")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
                try:
                    _bind(made, parent)
                    made.listen(_BACKLOG)
                except OSError as error:
                    raise hostfiles.explain(error, "busy", directory) from error
                made.setblocking(False)
                yield made, parent
        finally:
            os.close(lock)


def _bind(listener: socket.socket, parent: int) -> None:
    """Give it a name in parent: a whole path may be longer than an address (unix(7))."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SOCKET, dir_fd=parent)  # of one that was killed: we have the lock
    before = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    mask = os.umask(0o177)
    try:
        os.fchdir(parent)
        listener.bind(SOCKET)
    finally:
        os.umask(mask)
        os.fchdir(before)
        os.close(before)


@contextlib.contextmanager
def asked_to_end(selector: selectors.BaseSelector, end: Callable[[], None]) -> Iterator[None]:
    """Call end on SIGTERM and SIGINT in the block, and wake whoever waits for the selector."""
    reading, writing = socket.socketpair()
    for each in (reading, writing):
        each.setblocking(False)
    selector.register(reading, selectors.EVENT_READ)
    before = {
        number: signal.signal(number, lambda *_: end())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    waker = signal.set_wakeup_fd(writing.fileno())
    try:
        yield
    finally:
        signal.set_wakeup_fd(waker)
        for number, handler in before.items():
            signal.signal(number, handler)
        selector.close()
        reading.close()
        writing.close()


def is_ours(connection: socket.socket) -> bool:
    """Say whether the kernel names the caller, and by our uid."""
    try:
        return peer_uid(connection) == os.geteuid()
    except OSError:
        return False
