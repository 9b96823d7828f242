"""Runs the installed command many times from one process: `python -I driver.py`, a job on stdin.

Part of the proof, not of the product. It loads the console script by its path, so what runs is
what is installed; only interpreter start-ups are saved. A job names `command` and one `mode`:
`batch` (runs one after the other), `race` (attempts while an attacker exchanges directories) or
`kill` (each run a forked process that gets SIGKILL at some moment). JSON on stdout.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import random
import runpy
import signal
import stat
import sys
import tempfile
import time
from collections import Counter
from typing import Any

Ran = tuple[int, bytes, str]
_MOST_DESCRIPTORS = 1024


def build_command_line_once() -> None:
    """Keep Typer's command tree between runs: it is half of a run and the same each time."""
    with contextlib.suppress(ImportError):
        main: Any = importlib.import_module("typer.main")
        built: dict[int, Any] = {}
        build = main.get_command
        main.get_command = lambda app: built.get(id(app)) or built.setdefault(id(app), build(app))


def run(command: str, argv: list[str], stdin: bytes = b"") -> Ran:
    """Run the console script in this process; return status, stdout and stderr."""
    said, complained = io.StringIO(), io.StringIO()
    sys.argv = [command, *argv]
    with tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        os.dup2(given.fileno(), 0)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
            status = _called(command)
    return status, said.getvalue().encode(), complained.getvalue()


def _called(command: str) -> int:
    try:
        runpy.run_path(command, run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def batch(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Run every entry of job["runs"]: argv and, as text, stdin."""
    done = []
    for each in job["runs"]:
        started = time.monotonic()
        status, stdout, stderr = run(job["command"], each["argv"], each["stdin"].encode())
        done.append(
            {
                "status": status,
                "stdout": stdout.decode(),
                "stderr": stderr,
                "elapsed_ms": (time.monotonic() - started) * 1000,
            }
        )
    return done


def _opened(path: str) -> int:
    """Open a directory whose name somebody is exchanging with a link's: try until it is there."""
    give_up = time.monotonic() + 5
    while True:
        try:
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            if time.monotonic() > give_up:
                raise


class Tree:
    """The attacked jail by descriptor, so that nothing here depends on who holds a name now."""

    def __init__(self, job: dict[str, Any]) -> None:
        """Open the true parent directory and the one outside."""
        self.parent = _opened(job["parent"])
        self.outside = _opened(job["outside"])
        self.name = str(job["file"])
        self.owner = (int(job["uid"]), int(job["gid"]))

    def remove(self) -> None:
        """Take the file away, so that the next attempt has something to write."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.name, dir_fd=self.parent)

    def put(self, content: bytes) -> None:
        """Put another whole file there, as the tenant's own."""
        self.remove()
        fd = os.open(self.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self.parent)
        os.write(fd, content)
        if os.geteuid() == 0:
            os.fchown(fd, *self.owner)
        os.close(fd)

    def content(self) -> bytes | None:
        """Return the file's bytes if it is 0600 and its owner's; None for anything else."""
        try:
            fd = os.open(self.name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self.parent)
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(fd)
            if (status.st_uid, status.st_gid, status.st_mode & 0o7777) != (*self.owner, 0o600):
                return None
            return os.read(fd, 1 << 24)
        finally:
            os.close(fd)

    def beyond(self) -> list[tuple[object, ...]]:
        """Return what the directory outside looks like: names, inodes, owners, modes, ctimes."""
        names = [".", *sorted(os.listdir(self.outside))]  # noqa: PTH208 - by descriptor
        seen = [(n, os.stat(n, dir_fd=self.outside, follow_symlinks=False)) for n in names]
        return [
            (n, s.st_ino, s.st_uid, s.st_gid, s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns)
            for n, s in seen
        ]


def race(job: dict[str, Any]) -> dict[str, Any]:
    """Attempt a delivery again and again; look outside after every one."""
    tree, wanted = Tree(job), job["content"].encode()
    run(job["command"], job["argv"])  # loads what a first run loads, and counts for nothing
    histogram: Counter[str] = Counter()
    attempts = escapes = lost = 0
    before, first = tree.beyond(), _directories()
    started = time.monotonic()
    while _go_on(started, job, histogram["delivered"]):
        tree.remove()
        status, stdout, stderr = run(job["command"], job["argv"])
        attempts += 1
        outcome = _outcome(status, stdout, stderr)
        histogram[outcome] += 1
        lost += outcome == "delivered" and tree.content() != wanted
        after = tree.beyond()
        if after != before:
            escapes += 1
            with contextlib.suppress(FileNotFoundError):
                os.unlink(tree.name, dir_fd=tree.outside)
            before = tree.beyond()
    return {
        "attempts": attempts,
        "escapes": escapes,
        "lost": lost,
        "histogram": histogram,
        "directories": _directories() - first,
    }


def _go_on(started: float, job: dict[str, Any], done: int) -> bool:
    """Go on for the job's seconds, and on a slow host until enough is done to say something."""
    elapsed = time.monotonic() - started
    enough = float(job["seconds"] if done >= job["least"] else job["most_seconds"])
    return elapsed < enough


def _outcome(status: int, stdout: bytes, stderr: str) -> str:
    if status == 0:
        try:
            return str(json.loads(stdout)["result"])
        except (ValueError, KeyError, TypeError):
            return "unreadable answer"
    last = stderr.strip().splitlines()[-1:] or ["colibri: nothing said: "]
    return last[0].removeprefix("colibri: ").partition(":")[0]


def _directories() -> int:
    """Return how many directories this process holds open (a leaked one leads out of a jail)."""
    gc.collect()
    count = 0
    for fd in range(_MOST_DESCRIPTORS):
        with contextlib.suppress(OSError):
            count += stat.S_ISDIR(os.fstat(fd).st_mode)
    return count


def kill(job: dict[str, Any]) -> dict[str, Any]:
    """Kill runs at moments spread over a whole run; after each the file is an old or a new one."""
    tree, old, new = Tree(job), job["old"].encode(), job["content"].encode()
    _load_what_a_run_loads(job, tree, old)
    tree.put(old)
    length = _timed(lambda: os.waitpid(_forked(job), 0))
    found: Counter[str] = Counter()
    started = time.monotonic()
    moments = random.Random(0)  # noqa: S311 - spread, not secrecy
    while _go_on(started, job, found["kills"]):
        tree.put(old)
        child = _forked(job)
        time.sleep(moments.uniform(0, length))
        os.kill(child, signal.SIGKILL)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        found["kills"] += killed
        now = tree.content()
        found["old" if now == old else "new" if now == new else "torn"] += killed
        found["torn"] += not killed and now != new
    return {name: found[name] for name in ("kills", "old", "new", "torn")}


def _timed(act: Any) -> float:
    started = time.monotonic()
    act()
    return time.monotonic() - started


def _forked(job: dict[str, Any]) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            status = run(job["command"], job["argv"])[0]
        finally:
            os._exit(status)
    return child


def _load_what_a_run_loads(job: dict[str, Any], tree: Tree, old: bytes) -> None:
    """Import here what a forked run imported, so that kills fall into its work, not its imports.

    Nothing is run in this process itself: a fork must inherit no open registry.
    """
    tree.put(old)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            run(job["command"], job["argv"])
            os.write(writing, "\n".join(sys.modules).encode()[: 1 << 16])
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:  # noqa: PTH123
        names = pipe.read().splitlines()
    os.waitpid(child, 0)
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


if __name__ == "__main__":
    wanted = json.load(sys.stdin)
    build_command_line_once()
    done = {"batch": batch, "race": race, "kill": kill}[wanted["mode"]](wanted)
    json.dump(done, sys.stdout)
