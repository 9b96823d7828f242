"""Whatever is done to any line of the log, verify says that it was and where."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.logs import Log, delivered, edited, removed
from vault_svc.domain.audit import Head


def build(directory: Path) -> Log:
    """Two rotated segments and the active one, with a repair, a pruning and a key rotation."""
    log = Log(directory)
    log.limits.update(segment_bytes=2000, segments_kept=2)
    for _ in range(9):
        log.append([delivered(), delivered()])
    with log.files()[-1].open("ab") as file:
        file.write(b'{"at":"2026-11-2')
    log.append([removed()])
    log.keys.rotate()
    for _ in range(4):
        log.append([delivered(), removed()])
    return log


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return build(tmp_path_factory.mktemp("pristine") / "audit")


@pytest.fixture
def log(pristine: Log, tmp_path: Path) -> Log:
    return copied(pristine, tmp_path / "audit")


def copied(log: Log, to: Path) -> Log:
    shutil.copytree(log.directory, to)
    copy = log.another()
    copy.directory = to
    copy.limits = log.limits
    copy.mirrored = log.mirrored
    return copy


def broken_at(log: Log) -> str:
    verdict = log.audit.verify()
    assert verdict.broken_at, "verify saw nothing"
    return verdict.broken_at


def positions(log: Log) -> list[tuple[int, int]]:
    return [
        (file, line)
        for file, path in enumerate(log.files())
        for line in range(len(path.read_bytes().splitlines()))
    ]


def test_the_untouched_log_is_whole_and_has_everything(log):
    verdict = log.audit.verify()
    assert verdict.broken_at is None
    assert verdict.repairs == 1
    assert verdict.segments == 3
    lines = list(log.audit.lines())
    assert {line["event"] for line in lines} >= {"log_rotated", "log_pruned", "log_repaired"}
    assert {line["key"] for line in lines} == {"k1", "k2"}
    assert lines[0]["seq"] > 1


def each(change):
    """Make the same change at every position of a copy of the log, and expect it to be seen."""

    def test(pristine, tmp_path):
        tried = 0
        for file, at in positions(pristine):
            log = copied(pristine, tmp_path / f"{file}-{at}")
            lines = log.files()[file].read_bytes().splitlines()
            changed = change(list(lines), at)
            if changed is None or changed == lines:
                continue
            log.rewrite(lambda _, changed=changed: changed, file)
            where = broken_at(log)
            assert where, (file, at)
            tried += 1
        assert tried >= 10

    return test


def _edit(name, value):
    def change(lines, at):
        if not lines[at].endswith(b"}"):
            return None
        old = json.loads(lines[at])[name]
        lines[at] = edited(lines[at], **{name: value(old)})
        return lines

    return change


test_an_edited_seq_is_seen = each(_edit("seq", lambda old: old + 1))
test_an_edited_time_is_seen = each(_edit("at", lambda _: "2020-01-01T00:00:00.000Z"))
test_an_edited_event_is_seen = each(_edit("event", lambda _: "resumed"))
test_an_edited_tenant_is_seen = each(_edit("tenant", lambda _: "evil"))
test_an_edited_detail_is_seen = each(_edit("detail", lambda old: {**old, "generation": 9}))
test_an_emptied_detail_is_seen = each(_edit("detail", lambda _: {}))
test_a_changed_key_id_is_seen = each(_edit("key", lambda old: {"k1": "k2", "k2": "k1"}[old]))
test_an_unknown_key_id_is_seen = each(_edit("key", lambda _: "k9"))
test_a_changed_prev_is_seen = each(_edit("prev", lambda old: old[::-1]))
test_a_changed_mac_is_seen = each(_edit("mac", lambda old: old[::-1]))


def _delete(lines, at):
    del lines[at]
    return lines


def _repeat(lines, at):
    lines.insert(at, lines[at])
    return lines


def _swap(lines, at):
    if at + 1 >= len(lines):
        return None
    lines[at], lines[at + 1] = lines[at + 1], lines[at]
    return lines


def _garble(lines, at):
    lines[at] = b"{}"
    return lines


def _insert_garbage(lines, at):
    lines.insert(at, b"nothing")
    return lines


def _insert_empty(lines, at):
    lines.insert(at, b"")
    return lines


def _respell(lines, at):
    if not lines[at].endswith(b"}"):
        return None
    lines[at] = json.dumps(json.loads(lines[at])).encode()
    return lines


test_a_deleted_line_is_seen = each(_delete)
test_a_repeated_line_is_seen = each(_repeat)
test_two_swapped_lines_are_seen = each(_swap)
test_a_garbled_line_is_seen = each(_garble)
test_an_inserted_line_is_seen = each(_insert_garbage)
test_an_inserted_empty_line_is_seen = each(_insert_empty)
test_a_respelled_line_is_seen = each(_respell)


def test_a_cut_after_any_line_is_seen(pristine, tmp_path):
    places = positions(pristine)
    for file, at in places[1:]:
        log = copied(pristine, tmp_path / f"{file}-{at}")
        for path in log.files()[file + 1 :]:
            path.unlink()
        log.rewrite(lambda lines, at=at: lines[:at], file)
        assert broken_at(log), (file, at)


@pytest.mark.parametrize("file", [0, 1, 2])
def test_a_deleted_segment_is_seen(log, file):
    log.files()[file].unlink()
    assert broken_at(log)


def test_all_but_the_active_segment_deleted_is_seen(log):
    for path in log.files()[:-1]:
        path.unlink()
    assert "no log_pruned says so" in broken_at(log)


@pytest.mark.parametrize(("one", "two"), [(0, 1), (1, 2), (0, 2)])
def test_swapped_segments_are_seen(log, one, two):
    first, second = log.files()[one], log.files()[two]
    spare = log.directory / "spare"
    first.rename(spare)
    second.rename(first)
    spare.rename(second)
    assert broken_at(log)


def test_a_segment_under_another_number_is_seen(log):
    log.files()[0].rename(log.directory / "audit-999999999999.jsonl")
    assert broken_at(log)


def test_an_older_copy_of_the_whole_log_is_seen(tmp_path):
    log = Log(tmp_path / "audit")
    log.append([delivered()])
    older = copied(log, tmp_path / "older")
    log.append([delivered()])
    older.mirrored = log.mirrored
    assert "cut off" in broken_at(older)


def test_another_history_of_the_same_length_is_seen(tmp_path):
    log = Log(tmp_path / "audit")
    log.append([delivered()])
    other = copied(log, tmp_path / "other")
    log.append([delivered(), delivered()])
    other.append([removed(), removed()])
    other.mirrored = log.mirrored
    assert "remembers" in broken_at(other)


def test_every_flipped_byte_is_seen(tmp_path):
    log = Log(tmp_path / "audit")
    log.append([delivered(), removed()])
    path = log.files()[0]
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert broken_at(log), at
    path.write_bytes(whole)
    assert log.audit.verify().broken_at is None


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_whatever_is_done_to_the_bytes_is_seen(pristine, tmp_path_factory, data):
    path = data.draw(st.sampled_from(pristine.files()))
    whole = path.read_bytes()
    start = data.draw(st.integers(0, len(whole) - 1))
    length = data.draw(st.integers(0, len(whole) - start))
    put = data.draw(st.one_of(st.binary(max_size=30), st.just(whole[start // 2 : start])))
    changed = whole[:start] + put + whole[start + length :]
    # Without its very last LF the last line still says the same.
    if changed.removesuffix(b"\n") == whole.removesuffix(b"\n"):
        return
    log = copied(pristine, tmp_path_factory.mktemp("log") / "audit")
    (log.directory / path.name).write_bytes(changed)
    assert broken_at(log)


def test_the_place_is_named(log):
    names = [path.name for path in log.files()]
    raw = log.files()[1].read_bytes().splitlines()
    seq = json.loads(raw[2])["seq"]
    log.rewrite(lambda lines: [*lines[:2], edited(lines[2], tenant="evil"), *lines[3:]], 1)
    assert broken_at(log).startswith(f"{names[1]} line 3 (seq {seq}): it was changed")


def test_without_the_host_key_nothing_can_be_continued(tmp_path):
    log = Log(tmp_path / "audit")
    log.append([delivered()])
    stranger = Log(log.directory)
    head = log.mirrored
    log.forge(stranger.keys, Head(head.seq, head.mac))
    assert "changed, or not written by colibri" in broken_at(log)


def test_with_the_host_key_a_forger_still_loses_to_the_mirror(tmp_path):
    """SECURITY.md says what is left: rewriting the log and the registry with the key in hand."""
    log = Log(tmp_path / "audit")
    log.append([delivered(), delivered()])
    log.rewrite(lambda lines: lines[:1])
    first = log.audit.head()
    log.forge(log.keys, first, removed())
    assert "remembers" in broken_at(log)
    log.mirrored = log.audit.head()
    assert log.audit.verify().broken_at is None


def test_a_line_of_another_history_with_the_right_number_is_seen(tmp_path):
    """Both lines are ours and numbered 3: only what each continues tells them apart."""
    log = Log(tmp_path / "audit")
    log.append([delivered()])
    other = copied(log, tmp_path / "other")
    log.append([delivered("mine"), delivered()])
    other.append([delivered("theirs"), delivered()])
    log.rewrite(lambda lines: [*lines[:2], other.raw()[2]])
    log.mirrored = other.mirrored
    assert "line 3 (seq 3): it does not continue the line before it" in broken_at(log)
