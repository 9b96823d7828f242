"""A set cut short at each of its state-changing calls: every file whole, and the next run repairs.

In this process: the call that is the end raises, and so does every later one, so that nothing
tidies up as after a kill.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.arena import Arena, safe_directory
from vault_svc.domain.receipt import Found
from vault_svc.hazmat import confine_stage
from vault_svc.ports.delivery import JailRoot

PATH = ("home", "app", "secrets")
OLD = {"A": b"old", "B": b"same", "GONE": b"old"}
NEW = {"A": b"newer", "B": b"same", "C": b"fresh"}
CALLS = ("write", "fsync", "fchown", "fchmod", "mkdir", "rename", "unlink", "rmdir", "ftruncate")
FLOOR = 14


class Killed(BaseException):
    """As SIGKILL: nothing after it has an effect."""


@pytest.fixture
def arena() -> Iterator[Arena]:
    with safe_directory() as top:
        yield Arena(top)


class Cut:
    """Lets so many state-changing calls through, then none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, left: int | None) -> None:
        self.left, self.done = left, 0
        for name in CALLS:
            monkeypatch.setattr(os, name, self._cut(getattr(os, name)))
        monkeypatch.setattr(confine_stage, "name_inode", self._cut(confine_stage.name_inode))

    def _cut(self, real):
        def call(*args, **kwargs):
            if self.left is not None and self.done >= self.left:
                raise Killed
            self.done += 1
            return real(*args, **kwargs)

        return call


@contextlib.contextmanager
def cut(monkeypatch: pytest.MonkeyPatch, left: int) -> Iterator[None]:
    """Cut the block short; what it has open ends with it, locks and all, as a process does."""
    before = set(os.listdir("/proc/self/fd"))
    try:
        with monkeypatch.context() as patch:
            Cut(patch, left)
            yield
    finally:
        for each in set(os.listdir("/proc/self/fd")) - before:
            with contextlib.suppress(OSError):
                os.close(int(each))


class Ground:
    def __init__(self, arena: Arena, walk: str) -> None:
        self.arena, self.jail = arena, JailRoot(str(arena.root))
        self.delivery = arena.delivery(walk)
        self.directory = arena.root.joinpath(*PATH)

    def place(self, contents: dict[str, bytes], stale=()) -> None:
        self.delivery.place_files(self.jail, PATH, contents, self.arena.owner, stale=stale)

    def see(self) -> Found:
        return self.delivery.inspect_files(self.jail, PATH, OLD.keys() | NEW, max_bytes=99)

    def holds(self, contents: dict[str, bytes]) -> bool:
        found = self.see()
        assert found.files is not None
        there = {name: each.content for name, each in found.files.items()}
        names, owner = sorted(os.listdir(self.directory)), self.arena.owner.uid
        return there == contents and names == sorted(contents) and found.uid == owner

    def torn(self) -> list[str]:
        """Name what stands under a name and is neither the old file nor the new one."""
        bad: list[str] = []
        for path in self.directory.iterdir() if self.directory.exists() else ():
            content, status = path.read_bytes(), path.stat()
            if path.name.startswith(".colibri-"):
                continue
            mode, uid = stat.S_IMODE(status.st_mode), status.st_uid
            if content not in (OLD.get(path.name), NEW.get(path.name)):
                bad.append(f"{path.name}: {content!r}")
            if (mode, uid) != (0o400, self.arena.owner.uid):
                bad.append(f"{path.name}: {mode:o} of {uid}")
        return bad


@pytest.mark.parametrize("walk", ["openat2", "portable"])
@pytest.mark.parametrize("staging", ["nameless", "named"])
@pytest.mark.parametrize("before", [{}, OLD], ids=["first", "changed"])
def test_cut_short_anywhere_every_file_is_whole_and_the_next_run_repairs(
    arena, monkeypatch, walk, staging, before
):
    if staging == "named":
        monkeypatch.setattr(confine_stage, "_O_TMPFILE", 0)
    ground, points = Ground(arena, walk), 0
    while True:
        shutil.rmtree(ground.directory, ignore_errors=True)
        if before:
            ground.place(before)
        try:
            with cut(monkeypatch, points):
                ground.place(NEW, stale=before)
        except Killed:
            assert ground.torn() == [], points
            ground.place(NEW, stale=before)
            assert ground.holds(NEW), points
            points += 1
            continue
        break
    assert ground.holds(NEW)
    assert points >= FLOOR, "the sweep has shrunk"


@pytest.mark.parametrize("walk", ["openat2", "portable"])
@pytest.mark.parametrize("form", ["file", "files"])
def test_new_parents_cut_short_anywhere_are_their_owners_and_nothing_is_left(
    arena, monkeypatch, walk, form
):
    delivery, jail, points = arena.delivery(walk, create_parents=True), JailRoot(str(arena.root)), 0
    top = arena.home / "new"

    def place() -> None:
        where = ("home", "new", "deeper", "secrets")
        if form == "file":
            delivery.place(jail, where, b"x", arena.owner)
        else:
            delivery.place_files(jail, where, NEW, arena.owner)

    while True:
        shutil.rmtree(top, ignore_errors=True)
        try:
            with cut(monkeypatch, points):
                place()
        except Killed:
            assert strangers(top, arena.owner.uid) == [], points
            place()
            assert strangers(top, arena.owner.uid) == [], points
            assert [str(path) for path in arena.home.rglob(".colibri-*")] == [], points
            points += 1
            continue
        break
    assert points >= FLOOR


def strangers(top: Path, owner: int) -> list[str]:
    """Name what has its own name already and is not its owner's."""
    there = [top, *top.rglob("*")] if top.exists() else []
    named = [path for path in there if not path.name.startswith(".colibri-")]
    return [str(path) for path in named if path.stat().st_uid != owner]


@pytest.mark.parametrize("walk", ["openat2", "portable"])
def test_a_removal_cut_short_anywhere_is_finished_by_the_next(arena, monkeypatch, walk):
    ground, points = Ground(arena, walk), 0
    while True:
        ground.place(OLD)
        temporary = ground.directory / f".colibri-{'0' * 24}.tmp"
        temporary.touch()
        try:
            with cut(monkeypatch, points):
                ground.delivery.remove_files(ground.jail, PATH, OLD)
        except Killed:
            points += 1
            ground.delivery.remove_files(ground.jail, PATH, OLD)
            assert not ground.directory.exists(), points
            continue
        break
    assert not ground.directory.exists()
    assert points >= len(OLD) + 3


def test_the_sweep_sees_a_write_in_place(arena, monkeypatch):
    """The control: a writer that opens what stands there leaves a torn file under the same cuts."""
    ground, seen = Ground(arena, "portable"), []
    for point in range(4):
        ground.place(OLD)
        path: Path = ground.directory / "A"
        path.chmod(0o600)  # its owner, as root, could open it all the same
        try:
            with cut(monkeypatch, point):
                fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
                os.write(fd, NEW["A"])
                os.fsync(fd)
        except Killed:
            seen += ground.torn()
    assert seen
