"""A room for a foreign reader: no rights, an empty directory, and limits it cannot lift.

A shell that is handed a wrongly quoted value runs it. With the value `yes` that fills all memory
in seconds; so every reader here runs under memory, processor, process, output and time limits.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import dotenv

NOBODY = 65534
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Limits:
    """What one reader may use; processes are counted on top of what its user runs already."""

    address_bytes: int = 1 * GIB
    cpu_seconds: int = 30
    wall_seconds: float = 90
    processes: int = 128
    file_bytes: int = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a reader ended: exit status (negative: signal), what it said, whether time ran out."""

    status: int
    stdout: bytes
    stderr: bytes
    timed_out: bool


def drop_to() -> int:
    """Return the uid a reader becomes: nobody if we are root, -1 to stay who we are."""
    return NOBODY if os.geteuid() == 0 else -1


def _tasks_of(uid: int) -> int:
    count = 0
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == uid:
                count += len(os.listdir(f"/proc/{entry.name}/task"))
    return count


class Room:
    """Directories of one reader: `given` it may only read, `cwd` is empty and its own."""

    def __init__(self, base: Path) -> None:
        self.given = base / "given"
        self.cwd = base / "cwd"
        self._said = base / "said"
        base.chmod(0o755)
        for directory, mode in ((self.given, 0o755), (self.cwd, 0o700), (self._said, 0o700)):
            directory.mkdir()
            directory.chmod(mode)
        if drop_to() >= 0:
            os.chown(self.cwd, NOBODY, NOBODY)

    def put(self, name: str, data: bytes) -> Path:
        """Give the reader a file it can read and not change."""
        path = self.given / name
        path.write_bytes(data)
        path.chmod(0o644)
        return path

    def canaries(self) -> list[str]:
        """Return what appeared in the empty directory: proof that a value was executed."""
        return sorted(os.listdir(self.cwd))

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        limits: Limits = Limits(),
        drops_itself: bool = False,
        env: dict[str, str] | None = None,
    ) -> Outcome:
        """Run argv in the room; drops_itself: it becomes nobody after its imports.

        PATH leads nowhere: even a value that is executed finds no command.
        """
        uid = drop_to()
        processes = _tasks_of(uid if uid >= 0 else os.getuid()) + limits.processes
        wanted = (
            (resource.RLIMIT_AS, limits.address_bytes),
            (resource.RLIMIT_CPU, limits.cpu_seconds),
            (resource.RLIMIT_NPROC, processes),
            (resource.RLIMIT_FSIZE, limits.file_bytes),
            (resource.RLIMIT_CORE, 0),
        )

        def confine() -> None:
            for what, most in wanted:
                hard = resource.getrlimit(what)[1]
                least = most if hard == resource.RLIM_INFINITY else min(most, hard)
                resource.setrlimit(what, (least, least))

        rights = {} if uid < 0 or drops_itself else {"user": uid, "group": uid, "extra_groups": []}
        out, err = self._said / "out", self._said / "err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [os.fspath(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=self.cwd,
                env={
                    "PATH": "/nonexistent", "HOME": str(self.cwd), "LANG": "C.UTF-8", **(env or {})
                },
                start_new_session=True,
                preexec_fn=confine,  # noqa: PLW1509 - only system calls
                **rights,
            )  # fmt: skip
            timed_out = False
            try:
                process.wait(limits.wall_seconds)
            except subprocess.TimeoutExpired:
                timed_out = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return Outcome(process.returncode, out.read_bytes(), err.read_bytes(), timed_out)

    def run_python(self, script: Path, *words: str) -> Outcome:
        """Run one of our reader scripts by this interpreter; words follow file and uid."""
        file, *rest = words
        argv = [sys.executable, "-s", "-P", script, file, str(drop_to()), *rest]
        # The suite may itself run by PYTHONPATH, from a copy, under another interpreter.
        packages = str(Path(dotenv.__file__).parents[1])
        return self.run(argv, drops_itself=True, env={"PYTHONPATH": packages})


@contextlib.contextmanager
def room() -> Iterator[Room]:
    """Make a room outside pytest's tmp_path, which only its owner may enter."""
    with tempfile.TemporaryDirectory(prefix="colibri-reader-") as base:
        yield Room(Path(base))


def enterable(path: Path) -> bool:
    """Return whether the throwaway user can reach and run path."""
    if drop_to() < 0:
        return os.access(path, os.X_OK)
    parts = [path.resolve(), *path.resolve().parents]
    return all(part.stat().st_mode & 0o001 for part in parts)


def runnable(path: Path, room: Room) -> Path:
    """Return path, or a copy in the room where the throwaway user cannot reach it."""
    if enterable(path):
        return path
    copy = room.given / path.name
    shutil.copyfile(path, copy)
    copy.chmod(0o755)
    return copy
