"""One session at a time on this host: a lock that says who holds it and survives crashes."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from vault_svc.errors import ColibriError
from vault_svc.hazmat import filelock, private
from vault_svc.ports.clock import Clock

_CODE: Final = "busy"
_HOLDER: Final = re.compile(rb"(\d{1,10}) ([0-9TZ:.-]{20,30})\n")


@contextmanager
def only_session(path: str, clock: Clock, timeout_seconds: float) -> Iterator[None]:
    """Hold the lock in the block; raise `busy`, naming the holder, past the limit.

    The kernel gives the lock back when the holder dies; what the file says is for people only.
    """
    started = time.monotonic()
    held = filelock.held(path, _CODE, shared=False, timeout_seconds=timeout_seconds)
    with held as acquired:
        if not acquired:
            waited = time.monotonic() - started
            raise ColibriError(
                _CODE,
                f"another colibri reads from the server: {_holder(path)}; waited {waited:.0f} s",
                hint="let it finish, then run it again",
            )
        _note(path, f"{os.getpid()} {clock.now()}\n".encode())
        yield


def _note(path: str, text: bytes) -> None:
    fd, _ = private.open_file(path, os.O_WRONLY | os.O_TRUNC, _CODE)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


def _holder(path: str) -> str:
    try:
        fd, _ = private.open_file(path, os.O_RDONLY, _CODE)
    except (ColibriError, OSError):
        return "who it is cannot be read"
    try:
        found = _HOLDER.fullmatch(os.read(fd, 64))
    finally:
        os.close(fd)
    if not found:
        return "it has not said who it is"
    return f"process {int(found[1])} since {found[2].decode('ascii')}"
