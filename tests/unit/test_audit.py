"""The audit log's everyday life: lines, order, rotation, keys, refusals, competing writers."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.logs import Log, delivered, removed
from vault_svc.domain.audit import Entry, Event, Head
from vault_svc.errors import ColibriError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "audit")


def code_of(call, *args) -> ColibriError:
    with pytest.raises(ColibriError) as caught:
        call(*args)
    return caught.value


def test_a_line_is_the_documented_one(log):
    entry = Entry(Event.DELIVERED, "acme", {"keys": ["B", "A"], "generation": 2})
    head = log.append([entry])
    (raw,) = log.raw()
    line = json.loads(raw)
    mac = line.pop("mac")
    assert line == {
        "seq": 1,
        "at": "2026-11-21T03:24:00.000Z",
        "event": "delivered",
        "tenant": "acme",
        "detail": {"generation": 2, "keys": ["B", "A"]},
        "key": "k1",
        "prev": "0" * 64,
    }
    signed = json.dumps(line, sort_keys=True, separators=(",", ":")).encode()
    assert mac == log.keys.chain("0" * 64, signed, key_id="k1") == head.mac
    whole = json.dumps({**line, "mac": mac}, sort_keys=True, separators=(",", ":"))
    assert raw == whole.encode()
    assert head == Head(1, mac) == log.audit.head()


def test_lines_continue_each_other(log):
    log.append([delivered(), delivered()])
    log.append([removed()])
    lines = list(log.audit.lines())
    assert [line["seq"] for line in lines] == [1, 2, 3]
    assert [line["prev"] for line in lines[1:]] == [line["mac"] for line in lines[:-1]]
    verdict = log.audit.verify()
    assert (verdict.lines, verdict.segments, verdict.broken_at, verdict.repairs) == (3, 1, None, 0)
    assert verdict.head == log.audit.head() == log.mirrored


@pytest.mark.parametrize(
    "text", ['x","mac":"' + "0" * 64 + '"', "\n", "\u2028\u202e", "\ud800", "\x1b[2J", "ü" * 5000]
)
def test_nothing_in_an_entry_can_end_a_line_or_pass_for_its_mac(log, text):
    entry = Entry(Event.DELIVERED, text, {"k": text, 'a","mac': text, "mac": "0" * 64})
    log.append([entry, delivered()])
    assert len(log.raw()) == 2
    assert all(raw.isascii() and raw.decode().isprintable() for raw in log.raw())
    assert log.audit.tail(1, tenant=text)[0]["detail"] == entry.detail
    assert log.audit.verify().broken_at is None


def test_an_empty_log(log):
    assert log.audit.head() is None
    assert log.audit.tail(5) == []
    assert list(log.audit.lines()) == []
    verdict = log.audit.verify()
    assert (verdict.lines, verdict.segments, verdict.head, verdict.broken_at) == (0, 0, None, None)
    assert not log.directory.exists()


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_modes_do_not_depend_on_the_umask(log, umask):
    log.limits.update(segment_bytes=1000)
    old = os.umask(umask)
    try:
        for _ in range(12):
            log.append([delivered()])
    finally:
        os.umask(old)
    assert stat.S_IMODE(log.directory.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in log.directory.iterdir()}
    assert len(modes) > 3
    assert set(modes.values()) == {0o600}


def test_tail_reads_across_segments_and_by_tenant(log):
    log.limits.update(segment_bytes=1000)
    for number in range(30):
        log.append([delivered(f"t{number % 3}")])
    everything = list(log.audit.lines())
    assert len(log.files()) > 3
    for count in (0, 1, 5, 20, len(everything), 500):
        assert log.audit.tail(count) == everything[len(everything) - min(count, len(everything)) :]
    mine = [line for line in everything if line["tenant"] == "t1"]
    assert len(mine) == 10
    assert log.audit.tail(4, tenant="t1") == mine[-4:]
    assert log.audit.tail(4, tenant="t") == []


def test_tail_reads_no_more_than_it_must(log, monkeypatch):
    log.append([delivered() for _ in range(2000)])
    read = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda *args: read.append(args[1]) or real(*args))
    assert len(log.audit.tail(3)) == 3
    assert 0 < sum(read) <= 8192


def test_an_append_reads_no_more_than_it_must(log, monkeypatch):
    log.append([delivered() for _ in range(2000)])
    read = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda *args: read.append(args[1]) or real(*args))
    log.append([delivered()])
    assert 0 < sum(read) <= 8192


def test_a_batch_is_synced_once(log, monkeypatch):
    log.append([delivered()])
    calls: list[str] = []
    for name in ("fsync", "fdatasync", "write"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *args, real=real, name=name: calls.append(name) or real(*args)
        )
    log.append([delivered() for _ in range(64)])
    assert calls == ["write", "fdatasync"]


def test_new_names_are_synced_with_their_directory(log, monkeypatch):
    calls: list[str] = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: calls.append(os.readlink(f"/proc/self/fd/{fd}")) or real(fd)
    )
    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc to name descriptors")
    log.append([delivered()])
    assert calls == [str(log.directory / "audit.jsonl"), str(log.directory)]


def test_rotation_and_pruning_keep_the_chain(log):
    log.limits.update(segment_bytes=1500, segments_kept=3)
    for number in range(80):
        log.append([delivered(f"t{number}")] * (number % 3 + 1))
        verdict = log.audit.verify()
        assert verdict.broken_at is None, number
        assert verdict.head == log.mirrored
    names = [path.name for path in log.files()]
    assert len(names) == 4
    events = [line["event"] for line in log.audit.lines()]
    assert "log_rotated" in events
    assert "log_pruned" in events
    assert next(log.audit.lines())["seq"] > 1
    first = json.loads(log.files()[0].read_bytes().splitlines()[0])
    assert names[0] == f"audit-{first['seq']:012d}.jsonl"
    numbers = [line["seq"] for line in log.audit.lines()]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


def test_a_key_rotation_amid_the_log(log):
    log.append([delivered()])
    assert log.keys.rotate() == ("k1", "k2")
    log.append([delivered(), delivered()])
    assert [line["key"] for line in log.audit.lines()] == ["k1", "k2", "k2"]
    assert log.audit.verify().broken_at is None


def test_a_process_with_the_old_key_in_memory_goes_on_with_the_new_one(log):
    other = log.another()
    other.append([delivered()])
    log.keys.rotate()
    log.append([delivered()])
    other.append([delivered()])
    assert [line["key"] for line in log.audit.lines()] == ["k1", "k2", "k2"]
    assert other.audit.verify().broken_at is None


def test_a_retired_key_signs_nothing_any_more(log):
    """Whoever stole the old key, which is why it was rotated, cannot continue the log."""
    log.append([delivered()])
    thief = log.another()
    thief.keys = log.frozen_keys()
    log.keys.rotate()
    log.append([delivered()])
    line = log.audit.tail(1)[0]
    log.forge(thief.keys, Head(line["seq"], line["mac"]))
    assert "after its rotation" in log.audit.verify().broken_at


def test_a_log_behind_its_mirror_is_not_continued(log):
    log.append([delivered(), delivered(), delivered()])
    log.rewrite(lambda raw: raw[:2])
    error = code_of(log.append, [delivered()])
    assert error.code == "audit_broken"
    assert "seq 2" in error.message
    assert "3" in error.message
    assert len(log.raw()) == 2
    assert code_of(log.append, [removed()]).code == "audit_broken"


def test_a_deleted_log_is_not_begun_anew(log):
    log.append([delivered()])
    for path in log.files():
        path.unlink()
    assert code_of(log.append, [delivered()]).code == "audit_broken"
    assert "seq 1" in log.audit.verify().broken_at
    log.directory.joinpath("audit.lock").unlink()
    log.directory.rmdir()
    assert code_of(log.append, [delivered()]).code == "audit_broken"
    assert "seq 1" in log.audit.verify().broken_at


def test_a_last_line_that_is_not_ours_is_not_continued(log):
    log.append([delivered(), delivered()])
    log.mirrored = None
    log.rewrite(lambda raw: [raw[0], raw[1].replace(b'"acme"', b'"evil"')])
    assert code_of(log.append, [delivered()]).code == "audit_broken"


def test_another_line_with_the_mirrored_number_is_not_continued(log):
    log.append([delivered()])
    log.mirrored = Head(1, "ab" * 32)
    assert code_of(log.append, [delivered()]).code == "audit_broken"
    assert "remembers" in log.audit.verify().broken_at


def test_a_log_ahead_of_its_mirror_is_a_crash(log):
    log.append([delivered()])
    mirrored = log.mirrored
    log.append([delivered(), delivered()])
    log.mirrored = mirrored
    assert log.audit.verify().broken_at is None
    assert log.append([delivered()]).seq == 4


HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "r+")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_the_lock_is_waited_for_but_not_for_ever(log):
    log.append([delivered()])
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(log.directory / "audit.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline() == b"held\n"
    log.limits.update(lock_timeout_seconds=0.05)
    assert code_of(log.append, [delivered()]).code == "busy"
    assert code_of(log.audit.verify).code == "busy"
    holder.communicate()
    log.append([delivered()])


@pytest.mark.parametrize("name", ["audit.jsonl", "audit.lock"])
def test_a_symlink_in_a_files_place_is_refused(log, tmp_path, name):
    log.append([delivered()])
    target = tmp_path / "elsewhere"
    log.directory.joinpath(name).rename(target)
    log.directory.joinpath(name).symlink_to(target)
    before = target.read_bytes()
    assert code_of(log.append, [delivered()]).code == "audit_unwritable"
    assert target.read_bytes() == before


@pytest.mark.parametrize("bad", [0o755, 0o770, 0o701])
def test_a_directory_open_to_others_is_refused(log, bad):
    log.append([delivered()])
    log.directory.chmod(bad)
    assert code_of(log.append, [delivered()]).code == "audit_unwritable"


def test_a_symlinked_directory_is_refused(log, tmp_path):
    log.append([delivered()])
    log.directory.rename(tmp_path / "elsewhere")
    log.directory.symlink_to(tmp_path / "elsewhere")
    assert code_of(log.append, [delivered()]).code == "audit_unwritable"


def test_nothing_to_append_is_a_fault_of_the_caller(log):
    with pytest.raises(ValueError, match="nothing"):
        log.append([])


WRITER = """
import sys
from pathlib import Path
from tests.kit.logs import Log, delivered
log = Log(Path(sys.argv[1]), blob=sys.argv[2])
log.limits.update(segment_bytes=6000, segments_kept=200)
for number in range(60):
    log.append([delivered(sys.argv[3], number=number, part=part) for part in range(3)])
"""


@pytest.mark.xdist_group("race")
def test_processes_that_append_at_once_keep_one_chain(log):
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(log.directory), log.blob, name],
            cwd=ROOT, stderr=subprocess.PIPE,
        )
        for name in ("one", "two", "three")
    ]  # fmt: skip
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    verdict = log.audit.verify()
    assert verdict.broken_at is None
    assert verdict.segments > 10
    for name in ("one", "two", "three"):
        mine = [
            (line["detail"]["number"], line["detail"]["part"])
            for line in log.audit.lines()
            if line["tenant"] == name
        ]
        assert mine == [(number, part) for number in range(60) for part in range(3)]


@pytest.mark.xdist_group("race")
def test_verify_beside_a_writer_never_cries_wolf(log):
    log.append([delivered()])
    log.mirrored = None
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(log.directory), log.blob, "one"], cwd=ROOT
    )
    checks = 0
    while writer.poll() is None:
        log.mirrored = log.audit.head()
        verdict = log.audit.verify()
        assert verdict.broken_at is None
        checks += 1
    assert writer.returncode == 0
    assert checks > 3
    assert log.audit.verify().head.seq > 180


def test_files_are_never_open_to_others_for_a_moment(log, monkeypatch):
    made = []
    real = os.open

    def opened(path, flags, mode=0o777, **named):
        if flags & os.O_CREAT:
            made.append(mode)
        return real(path, flags, mode, **named)

    monkeypatch.setattr(os, "open", opened)
    log.limits.update(segment_bytes=500)
    for _ in range(4):
        log.append([delivered()])
    assert len(made) > 4
    assert set(made) == {0o600}
