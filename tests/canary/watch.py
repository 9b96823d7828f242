"""Watches every process of the host for marked secrets, and says at which step of bw it saw one."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Final, Self

from tests.canary.marks import Marks

SESSION: Final = "session key"
_SESSION_KEY: Final = re.compile(rb"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{86}==")
_STEPS: Final = frozenset({b"login", b"unlock", b"list", b"serve", b"sync"})
_PAUSE: Final = 0.01

Sight = tuple[str, str, str]


class Watch:
    """What was seen: (step of bw or "other", cmdline or environ, name of the secret)."""

    def __init__(self, marks: Marks) -> None:
        self.seen: set[Sight] = set()
        self.steps: set[str] = set()
        self._marks = marks
        self._old: set[str] = set()
        self._known: set[tuple[Path, bytes]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._old = _processes()
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_PAUSE):
            for name in _processes() - self._old:
                self._look(Path("/proc", name))

    def _look(self, process: Path) -> None:
        try:
            argv = (process / "cmdline").read_bytes()
            environ = (process / "environ").read_bytes()
            same = argv and argv == (process / "cmdline").read_bytes()
        except OSError:
            return
        if not same:  # it is just becoming another program: the next look has both of one
            return
        if (process, argv) in self._known:  # the environment is the one of this program's start
            return
        self._known.add((process, argv))
        step = step_of(argv, environ)
        self.steps.add(step)
        for where, data in (("cmdline", argv), ("environ", environ)):
            self.seen |= {(step, where, name) for name in self._marks.find(data)}
            if _SESSION_KEY.search(data):
                self.seen.add((step, where, SESSION))


def _processes() -> set[str]:
    return {name for name in os.listdir("/proc") if name.isdigit()}


def step_of(argv: bytes, environ: bytes) -> str:
    """Return which step of bw a process is, "other" for all else."""
    if b"BITWARDENCLI_APPDATA_DIR=" not in environ:
        return "other"
    return next((w.decode() for w in argv.split(b"\0") if w in _STEPS), "other")


def session_keys(said: bytes) -> list[bytes]:
    return _SESSION_KEY.findall(said)
