"""A full disk refuses what adds, never what removes (decision 14)."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.logs import Log, delivered, removed
from vault_svc.domain.audit import REMOVALS, Entry, Event
from vault_svc.errors import ColibriError
from vault_svc.hazmat import prealloc

RESERVE = 256 * 1024


def mount(where: Path, kind: str) -> bool:
    if kind == "tmpfs":
        options = ["-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs"]
    else:
        image = where.with_suffix(".img")
        with image.open("wb") as file:
            file.truncate(8 << 20)
        maker = shutil.which("mkfs.ext4")
        if not maker:
            return False
        made = subprocess.run([maker, "-q", "-m", "0", str(image)], check=False, timeout=60)
        if made.returncode:
            return False
        options = ["-t", "ext4", "-o", "loop", str(image)]
    done = subprocess.run(
        ["mount", *options, str(where)], check=False, capture_output=True, timeout=60
    )
    return done.returncode == 0


@pytest.fixture(params=["tmpfs", "ext4"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    where = tmp_path / request.param
    where.mkdir()
    if not shutil.which("mount") or not mount(where, request.param):
        pytest.skip(f"this host lets root mount no {request.param}")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True, timeout=60)


def fill(where: Path) -> Path:
    """Take the last byte there is."""
    filler = where / "filler"
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    size = 1 << 16
    while size:
        try:
            os.write(descriptor, os.urandom(size))
        except OSError as error:
            assert error.errno == errno.ENOSPC
            size //= 2
    os.fsync(descriptor)
    os.close(descriptor)
    return filler


def refusal(log: Log, entries) -> ColibriError:
    with pytest.raises(ColibriError) as caught:
        log.append(entries)
    return caught.value


def no_keep_size(descriptor: int, offset: int, length: int) -> bool:
    return False


@pytest.mark.root
@pytest.mark.parametrize("way", ["blocks", "ballast"])
def test_a_full_disk_refuses_deliveries_and_takes_removals(small, way):
    log = Log(small / "audit")
    log.limits.update(reserve_bytes=RESERVE)
    if way == "ballast":
        log.limits.update(keep_size=no_keep_size)
    log.append([delivered()])
    fill(small)
    # Eyes: the disk is full for everybody else.
    with pytest.raises(OSError, match="No space"):
        small.joinpath("other").write_bytes(b"x" * 65536)
    small.joinpath("other").unlink(missing_ok=True)
    filler = fill(small)
    with contextlib.suppress(ColibriError):  # what is left of the last step
        for _ in range(1000):
            log.append([delivered()])
    before = log.raw()
    assert len(before) < 1000
    for entries in ([delivered()], [removed(), delivered()], [Entry(Event.RESUMED, "acme")]):
        error = refusal(log, entries)
        assert error.code == "audit_unwritable"
        assert "no space" in error.message
        assert "revoke" in error.hint
        assert log.raw() == before
    for number in range(100):
        log.append([Entry(event, f"t{number}") for event in sorted(REMOVALS)])
    assert len(log.raw()) == len(before) + 100 * len(REMOVALS)
    assert log.audit.verify().broken_at is None
    assert refusal(log, [delivered()]).code == "audit_unwritable"
    filler.unlink()
    log.append([delivered()])
    assert log.audit.verify().broken_at is None
    # And the reserve is whole again.
    fill(small)
    log.append([removed()])
    assert log.audit.verify().lines == len(before) + 100 * len(REMOVALS) + 2


@pytest.mark.root
def test_the_reserve_survives_a_rotation(small):
    log = Log(small / "audit")
    log.limits.update(reserve_bytes=RESERVE, segment_bytes=3000)
    for _ in range(30):
        log.append([delivered()])
    assert len(log.files()) > 2
    blocks = {path.name: path.stat().st_blocks * 512 for path in log.files()}
    assert blocks.pop("audit.jsonl") >= RESERVE
    assert max(blocks.values()) < RESERVE, "rotated segments keep no reserve"
    fill(small)
    for _ in range(20):  # a rotation falls due and cannot happen
        log.append([removed()])
    assert log.audit.verify().broken_at is None


@pytest.mark.root
def test_without_a_reserve_removals_are_refused_too(small):
    """Shows that it is the reserve that lets them through."""
    log = Log(small / "audit")
    log.limits.update(reserve_bytes=0)
    log.append([delivered()])
    fill(small)
    refused = 0
    for _ in range(40):  # the last block may have room for a few
        try:
            log.append([removed()])
        except ColibriError as error:
            assert error.code == "audit_unwritable"
            refused += 1
    assert refused > 10
    assert log.audit.verify().broken_at is None


def test_blocks_are_there_past_the_end(tmp_path):
    path = tmp_path / "file"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not prealloc.keep_size(descriptor, 0, RESERVE):
            pytest.skip("this file system allocates nothing past the end")
        found = os.fstat(descriptor)
        assert (found.st_size, found.st_blocks * 512 >= RESERVE) == (0, True)
        with pytest.raises(OSError, match="Bad file descriptor"):
            prealloc.keep_size(10_000, 0, 1)
    finally:
        os.close(descriptor)


def full(descriptor: int, offset: int, length: int) -> bool:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_an_ordinary_append_that_gets_no_blocks_writes_nothing(tmp_path):
    log = Log(tmp_path / "audit")
    log.append([delivered()])
    before = log.raw()
    log.limits.update(keep_size=full)
    assert refusal(log, [delivered()]).code == "audit_unwritable"
    assert log.raw() == before
    log.append([removed()])
    assert len(log.raw()) == 2
    assert log.audit.verify().broken_at is None


def test_a_write_that_stops_half_way_is_taken_back(tmp_path, monkeypatch):
    log = Log(tmp_path / "audit")
    log.append([delivered()])
    before = log.raw()
    real, calls = os.write, []

    def write(descriptor, data):
        calls.append(len(data))
        if len(calls) == 1:
            return real(descriptor, bytes(data)[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        assert refusal(log, [delivered()]).code == "audit_unwritable"
    assert len(calls) == 2
    assert log.raw() == before
    log.append([delivered()])
    assert log.audit.verify().repairs == 0


def test_the_ballast_is_given_up_for_a_removal_and_made_again(tmp_path, monkeypatch):
    log = Log(tmp_path / "audit")
    log.limits.update(reserve_bytes=RESERVE, keep_size=no_keep_size)
    log.append([delivered()])
    ballast = log.directory / "audit.reserve"
    assert ballast.stat().st_size == RESERVE
    assert len(set(ballast.read_bytes())) > 200, "random: compression must not eat it"
    real = os.write

    def write(descriptor, data):
        if ballast.stat().st_size:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        assert refusal(log, [delivered()]).code == "audit_unwritable"
        assert ballast.stat().st_size == RESERVE
        log.append([removed()])
    assert ballast.stat().st_size == 0
    log.append([delivered()])
    assert ballast.stat().st_size == RESERVE
    assert log.audit.verify().lines == 3
