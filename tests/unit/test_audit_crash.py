"""The log after a crash at any byte or any call: repaired, continued, never called broken."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.kit.logs import Log, delivered, removed
from vault_svc.errors import ColibriError


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "audit")


def check(log: Log) -> None:
    verdict = log.audit.verify()
    assert verdict.broken_at is None


def test_torn_at_every_byte_of_a_batch(log):
    log.append([delivered(), delivered()])
    path = log.files()[0]
    before, mirrored = path.read_bytes(), log.mirrored
    log.append([delivered("one"), delivered("two"), removed()])
    after = path.read_bytes()
    repairs = 0
    for cut in range(len(before), len(after) + 1):
        path.write_bytes(after[:cut])
        log.mirrored = mirrored
        check(log)
        whole = after[:cut].count(b"\n")
        torn = after[:cut].rpartition(b"\n")[2]
        log.append([removed()])
        check(log)
        content = path.read_bytes()
        assert content.startswith(after[:cut]), "append-only"
        added = [json.loads(raw) for raw in content[cut:].splitlines() if raw]
        if torn and not torn.endswith(b"}"):
            repairs += 1
            assert added[0]["event"] == "log_repaired"
            assert added[0]["detail"] == {
                "bytes": len(torn),
                "sha256": hashlib.sha256(torn).hexdigest(),
            }
        elif torn:
            # A whole line that only misses its LF is a line, unless it is not whole after all.
            assert len(added) == 1 + (added[0]["event"] == "log_repaired")
        assert log.mirrored.seq >= whole + 1
    assert repairs > 500


def test_torn_again_in_the_repair_at_every_byte(log):
    log.append([delivered()])
    path = log.files()[0]
    with path.open("ab") as file:
        file.write(b'{"at":"2026-1')
    before, mirrored = path.read_bytes(), log.mirrored
    log.append([delivered()])
    after = path.read_bytes()
    for cut in range(len(before), len(after) + 1):
        path.write_bytes(after[:cut])
        log.mirrored = mirrored
        check(log)
        log.append([removed()])
        check(log)


@pytest.mark.parametrize(
    "tail",
    [
        b"\0" * 700,
        b"\0" * 700 + b"\n",
        b"\n",
        b"\n\n\n",
        b"{}",
        b'{"a":1}\n',
        b"\xff\xfe",
        b"x\ny\nz",
    ],
)
def test_what_a_power_loss_can_leave(log, tail):
    log.append([delivered()])
    path = log.files()[0]
    path.write_bytes(path.read_bytes() + tail)
    check(log)
    assert log.audit.head() == log.mirrored
    assert [line["seq"] for line in log.audit.tail(9)] == [1]
    log.append([delivered()])
    check(log)
    assert [line["event"] for line in log.audit.lines()] == [
        "delivered",
        "log_repaired",
        "delivered",
    ]
    assert log.audit.verify().repairs == 1


def test_torn_in_the_very_first_line(log):
    log.append([delivered()])
    path = log.files()[0]
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        log.mirrored = None
        check(log)
        log.append([delivered()])
        check(log)


def test_a_repair_covers_its_own_bytes_only(log):
    log.append([delivered()])
    path = log.files()[0]
    with path.open("ab") as file:
        file.write(b"torn here")
    log.append([delivered()])
    check(log)
    whole = path.read_bytes()
    for old, new in ((b"torn here", b"torn hers"), (b"torn here\n", b""), (b"here", b"here\nmore")):
        path.write_bytes(whole.replace(old, new))
        assert "log_repaired" in (log.audit.verify().broken_at or "") or "torn bytes" in (
            log.audit.verify().broken_at or ""
        )


class Killed(BaseException):
    """The process is gone: nothing that catches errors may catch this."""


CALLS = ("open", "write", "fsync", "fdatasync", "rename", "unlink", "ftruncate", "mkdir", "fchmod")


def changing(name: str, args: tuple) -> bool:
    return name != "open" or bool(args[1] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR))


class Trap:
    """Counts state-changing calls and springs at one of them, before or after it happened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, error, *, after: bool) -> None:
        self.count = 0
        self.at = at
        self.sprung = False
        for name in CALLS:
            real = getattr(os, name)

            def call(*args, _real=real, _name=name, **named):
                if not changing(_name, args):
                    return _real(*args, **named)
                self.count += 1
                if self.count != self.at:
                    return _real(*args, **named)
                self.sprung = True
                if after:
                    done = _real(*args, **named)
                    if _name == "open":
                        os.close(done)
                raise error

            monkeypatch.setattr(os, name, call)


def rotating(directory: Path) -> Log:
    """A log whose next append rotates and prunes."""
    log = Log(directory)
    log.limits.update(segment_bytes=700, segments_kept=1)
    for _ in range(4):
        log.append([delivered(), delivered()])
    return log


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("begin", [Log, rotating], ids=["first", "rotating"])
def test_killed_at_every_call(tmp_path, begin, after):
    at, points = 0, 0
    while True:
        at += 1
        log = begin(tmp_path / f"log{at}")
        before = [line["seq"] for line in log.audit.lines()]
        with pytest.MonkeyPatch.context() as patch:
            trap = Trap(patch, at, Killed(), after=after)
            with contextlib.suppress(Killed, FileNotFoundError):
                log.append([delivered("new")])
        if not trap.sprung:
            break
        points += 1
        check(log)
        log.append([removed()])
        check(log)
        seqs = [line["seq"] for line in log.audit.lines()]
        assert seqs == list(range(seqs[0], seqs[-1] + 1))
        assert seqs[-1] > (before[-1] if before else 0)
        log.append([delivered()])
        check(log)
        shutil.rmtree(log.directory)
    floor = 12 if begin is rotating else 6
    assert points >= floor


@pytest.mark.parametrize(
    "number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES]
)
@pytest.mark.parametrize("entry", [delivered(), removed()], ids=["ordinary", "removal"])
@pytest.mark.parametrize("begin", [Log, rotating], ids=["first", "rotating"])
def test_an_error_at_every_call(tmp_path, begin, entry, number):
    at, refused = 0, 0
    while True:
        at += 1
        log = begin(tmp_path / f"log{at}")
        with pytest.MonkeyPatch.context() as patch:
            trap = Trap(patch, at, OSError(number, os.strerror(number)), after=False)
            try:
                log.append([entry])
            except ColibriError as error:
                refused += 1
                assert error.code == "audit_unwritable"
                full = number in {errno.ENOSPC, errno.EDQUOT}
                assert ("no space" in error.message) == full
        if not trap.sprung:
            break
        check(log)
        log.append([delivered()])
        check(log)
    assert refused >= 3
