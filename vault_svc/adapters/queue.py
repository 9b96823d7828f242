"""Requests that wait for the same thing: one process serves all of them, the others get answers.

A file each in a directory of ours, locked by its asker as long as that lives; whoever holds the
kind's lock serves. Nothing is synced: what a power cut loses had nobody left to wait for it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from typing import Final

from vault_svc.hazmat import hostfiles
from vault_svc.hazmat.filelock import opened_and_locked

_UNSAFE: Final = "unsafe_base"
_ASK, _ANSWER, _FRESH, _LEAD = ".ask", ".answer", ".fresh", ".lead"
_MAX_BYTES: Final = 1 << 20
_FIRST_PAUSE: Final = 0.004
_LONGEST_PAUSE: Final = 0.064
_LOOK: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAKE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Serve = Callable[[Sequence[bytes]], Iterator[tuple[int, bytes] | None]]


class FileQueue:
    """Shared by every process of this host that names the same directory."""

    def __init__(self, path: str, *, at_once: int) -> None:
        """Take the directory, made when first needed, and how many are served in one go."""
        self._path = path
        self._at_once = at_once

    def ask(self, kind: str, request: bytes, serve: Serve) -> bytes:
        """Return request's answer, from whichever process served it.

        serve gets requests of this kind, ours among them, and yields each one's number and answer,
        and None when only those are left that wait for something else; it must not raise. Where
        nothing can be written ours is served alone.
        """
        try:
            hostfiles.make_directory(self._path, _UNSAFE)
        except OSError:
            return _alone(request, serve)
        with hostfiles.directory(self._path, _UNSAFE) as parent:
            asked = _announced(parent, kind, request)
            if asked is None:
                return _alone(request, serve)
            stem, held = asked
            try:
                return self._answered(parent, kind, stem, serve)
            except OSError:
                return _alone(request, serve)
            finally:
                for suffix in (_ASK, _ANSWER):
                    _remove(parent, stem + suffix)
                os.close(held)

    def _answered(self, parent: int, kind: str, stem: str, serve: Serve) -> bytes:
        pause, said = _FIRST_PAUSE, None
        while said is None and (said := _read(parent, stem + _ANSWER)) is None:
            lead = opened_and_locked(parent, kind + _LEAD, os.O_RDWR | os.O_CREAT)
            if lead is None:
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            with closing(_Lead(lead)) as held:
                # What the one before us answered is not asked again.
                if (said := _read(parent, stem + _ANSWER)) is None:
                    said = self._serve(parent, kind, stem, serve, held)
        return said

    def _serve(self, parent: int, kind: str, mine: str, serve: Serve, lead: _Lead) -> bytes | None:
        """Answer those who wait, as far as there is room; return our own answer."""
        others = [stem for stem in _sweep(parent, kind) if stem != mine]
        stems = [mine, *others][: self._at_once]
        asked = {stem: said for stem in stems if (said := _read(parent, stem + _ASK)) is not None}
        stems, own = list(asked), None
        for found in serve(list(asked.values())):
            if found is not None:
                stem = stems[found[0]]
                own = found[1] if stem == mine else own
                with suppress(OSError):  # whoever gets none serves itself
                    _answer(parent, stem, found[1])
                continue
            # Whoever comes now does not wait for what those wait for, nor do we for others.
            lead.close()
            if own is not None:
                break
        return own


class _Lead:
    """The lock of whoever serves a kind."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def close(self) -> None:
        """Give it back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _answer(parent: int, stem: str, answer: bytes) -> None:
    """Put an answer where its asker looks; locked until then, so that nobody sweeps it."""
    fresh = f"{stem}-{os.getpid()}{_FRESH}"  # two may have it, once those who wait are left alone
    held = _write(parent, fresh, answer, keep=True)
    try:
        os.rename(fresh, stem + _ANSWER, src_dir_fd=parent, dst_dir_fd=parent)
    finally:
        os.close(held)


def _alone(request: bytes, serve: Serve) -> bytes:
    return next(found[1] for found in serve([request]) if found is not None)


def _announced(parent: int, kind: str, request: bytes) -> tuple[str, int] | None:
    """Put a request where it is found, locked from the moment it has its name; None: no room."""
    while True:
        stem = f"{kind}-{os.urandom(12).hex()}"
        early = f"{stem}{_FRESH}"
        held = None
        try:
            held = _write(parent, early, request, keep=True)
            os.rename(early, stem + _ASK, src_dir_fd=parent, dst_dir_fd=parent)
        except OSError as error:
            _remove(parent, early)
            if held is not None:
                os.close(held)
            if isinstance(error, FileNotFoundError):  # swept before it was locked
                continue
            return None
        return stem, held


def _sweep(parent: int, kind: str) -> list[str]:
    """Remove what the dead left; return the stems of those who wait."""
    names = {name for name in os.listdir(parent) if name.startswith(f"{kind}-")}
    waiting = []
    for name in sorted(names):
        stem, dot, suffix = name.rpartition(".")
        if dot + suffix == _ANSWER and stem + _ASK not in names:
            _remove(parent, name)
        elif dot + suffix in {_ASK, _FRESH}:
            held = opened_and_locked(parent, name)
            if held is not None:
                for left in (name, stem + _ANSWER):
                    _remove(parent, left)
                os.close(held)
            elif dot + suffix == _ASK and stem + _ANSWER not in names:
                waiting.append(stem)
    return waiting


def _read(parent: int, name: str) -> bytes | None:
    try:
        fd = os.open(name, _LOOK, dir_fd=parent)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        return file.read(_MAX_BYTES)


def _write(parent: int, name: str, content: bytes, *, keep: bool = False) -> int:
    fd = os.open(name, _MAKE, 0o600, dir_fd=parent)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        left = memoryview(content)
        while left:
            left = left[os.write(fd, left) :]
    except BaseException:
        os.close(fd)
        raise
    if not keep:
        os.close(fd)
    return fd


def _remove(parent: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=parent)
