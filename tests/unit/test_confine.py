"""The confined write without an attacker: results, messages, durability's small print."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator

import pytest

from tests.kit import arena as kit
from vault_svc.adapters import delivery_words as adapter
from vault_svc.domain.paths import jail_path
from vault_svc.errors import CODES, ColibriError
from vault_svc.hazmat import confine, confine_stage, confine_walk, linkat, mounts, openat2
from vault_svc.hazmat.confine_error import Reason, Refused, refusal
from vault_svc.ports.delivery import JailRoot

ENV = jail_path(kit.ENV)


@pytest.fixture(params=["openat2", "portable"])
def ready(request) -> Iterator[kit.Attack]:
    with kit.safe_directory() as top:
        yield kit.Attack(kit.Arena(top), str(request.param))


def test_place_then_inspect_then_remove_tells_what_was_there(ready):
    assert ready.inspect().kind == "missing"
    first = ready.place()
    second = ready.place(content=b"B=2\n")
    found = ready.inspect()
    assert (first.displaced, second.displaced) == ("missing", "file")
    assert first.ino != second.ino
    assert (found.ino, found.dev, found.mtime_ns) == (second.ino, second.dev, second.mtime_ns)
    assert (found.content, found.nlink, found.size) == (b"B=2\n", 1, 4)
    assert (ready.remove(), ready.remove()) == ("file", "missing")


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_place_sets_the_mode_it_was_given(ready, mode):
    ready.delivery.place(ready.jail, ENV, b"", ready.arena.owner, mode)
    assert stat.S_IMODE(ready.arena.env.stat().st_mode) == mode


def test_tampering_is_retried_three_times_then_reported(ready, monkeypatch):
    tries = []

    def swapped(*args):
        tries.append(args)
        raise Refused(Reason.TAMPERED, "x")

    monkeypatch.setattr(confine, "publish", swapped)
    with pytest.raises(ColibriError) as caught:
        ready.place()
    assert (caught.value.code, len(tries)) == ("tampered", 3)
    assert ready.arena.leftovers() == []


def test_tampering_that_stops_in_time_is_delivered(ready, monkeypatch):
    real, tries = confine.publish, []

    def twice(*args):
        tries.append(args)
        if len(tries) < 3:
            raise Refused(Reason.TAMPERED, "x")
        return real(*args)

    monkeypatch.setattr(confine, "publish", twice)
    ready.place()
    assert ready.arena.good(ready.inspect())


@pytest.mark.parametrize(
    "what", ["bytes", "mode", "link", "inode", pytest.param("owner", marks=pytest.mark.root)]
)
def test_read_back_reports_what_is_not_what_was_written(ready, what, monkeypatch):
    """Each part of the last look by itself: a change after the rename is never reported as done."""
    arena, real = ready.arena, os.fsync

    def change(fd: int) -> None:
        real(fd)
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            return
        if what == "bytes":
            arena.env.write_bytes(b"X" * len(kit.SECRET))
        elif what == "mode":
            arena.env.chmod(0o644)
        elif what == "owner":
            os.chown(arena.env, 1001, 1001)
        elif what == "link":
            os.link(arena.env, arena.app / f"copy{len(os.listdir(arena.app))}")
        else:
            arena.env.rename(arena.app / f"moved{len(os.listdir(arena.app))}")
            made = arena.file(arena.env, 0o600, arena.owner.uid, kit.SECRET)
            assert made.stat().st_uid == arena.owner.uid

    monkeypatch.setattr(os, "fsync", change)
    with pytest.raises(ColibriError) as caught:
        ready.place()
    assert caught.value.code == "tampered"
    copies = [p for p in arena.app.iterdir() if p.name.startswith(("copy", "moved"))]
    assert all(p.read_bytes() == b"" for p in copies)


def test_name_that_appears_between_look_and_link_is_displaced_not_followed(ready, monkeypatch):
    arena, real, victim = ready.arena, confine_stage.publish_new, ready.arena.victim.read_bytes()

    def late(*args):
        arena.env.symlink_to(arena.victim)
        return real(*args)

    monkeypatch.setattr(confine_stage, "publish_new", late)
    assert ready.place().displaced == "symlink"
    assert arena.victim.read_bytes() == victim
    assert arena.good(ready.inspect())


@pytest.mark.parametrize("kind", ["fifo", "symlink", "file", "missing"])
def test_file_swapped_between_look_and_open_is_looked_at_again(ready, kind, monkeypatch):
    arena, real, looks = ready.arena, confine_stage.look, []
    arena.file(arena.env, content=b"before\n")

    def look(parent, name):
        seen = real(parent, name)
        looks.append(name)
        if len(looks) == 1:
            arena.env.rename(arena.app / "moved")
            if kind == "fifo":
                os.mkfifo(arena.env)
            elif kind == "symlink":
                arena.env.symlink_to(arena.victim)
            elif kind == "file":
                arena.file(arena.env, content=b"after\n")
        return seen

    monkeypatch.setattr(confine_stage, "look", look)
    found = ready.inspect()
    assert (found.kind, found.content) == (kind, b"after\n" if kind == "file" else None)
    assert len(looks) == 2


@pytest.mark.parametrize("what", ["fifo", "socket"])
def test_what_came_after_the_look_is_never_opened(ready, what, monkeypatch):
    """Opening a device acts on it, whatever is done with the descriptor then."""
    ready.place()
    env, opened = ready.arena.env, []
    real_look, real_open = confine.staging.look, confine_walk.reopened

    def swapped(parent, name):
        seen = real_look(parent, name)
        if name == env.name:
            env.unlink()
            if what == "fifo":
                os.mkfifo(env)
            else:
                with socket.socket(socket.AF_UNIX) as bound:
                    # By a short way: an address holds 107 bytes (unix(7)).
                    bound.bind(f"/proc/self/fd/{parent}/{name}")
        return seen if name != env.name else regular

    regular = env.stat()
    monkeypatch.setattr(confine.staging, "look", swapped)
    monkeypatch.setattr(confine_walk, "reopened", lambda fd: opened.append(fd) or real_open(fd))
    with pytest.raises(ColibriError) as caught:
        ready.inspect()
    assert (caught.value.code, opened) == ("tampered", [])


def test_what_could_not_be_read_back_for_lack_of_descriptors_stays(ready, monkeypatch):
    """It has the name already, whole and announced: to take it away would leave nothing."""
    ready.place()
    real, looks = confine.inspect_at, []

    def exhausted(*arguments):
        looks.append(True)
        raise refusal(OSError(errno.EMFILE, "too many"), "x")

    monkeypatch.setattr(confine, "inspect_at", exhausted)
    with pytest.raises(ColibriError) as caught:
        ready.place(content=b"B=2\n")
    monkeypatch.setattr(confine, "inspect_at", real)
    assert (caught.value.code, len(looks)) == ("busy", 1)
    assert ready.inspect().content == b"B=2\n"
    assert ready.arena.leftovers() == []


@pytest.mark.parametrize("what", ["fifo", "char device"])
def test_a_sweep_opens_no_device_of_our_pattern(tmp_path, what, monkeypatch):
    """It came between the look that found a file and the open for its lock."""
    name, opened = confine_stage.temporary_name(), []
    monkeypatch.setattr(confine_stage, "reopened", lambda fd: opened.append(fd) or os.dup(fd))
    try:
        if what == "fifo":
            os.mkfifo(tmp_path / name)
        else:
            os.mknod(tmp_path / name, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices, and not everywhere")
    parent = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert confine_stage._is_locked(parent, name) is False
    finally:
        os.close(parent)
    assert opened == []


def test_file_that_grows_while_it_is_read_stays_bounded(tmp_path):
    (tmp_path / "f").write_bytes(b"x" * 100)
    fd = os.open(tmp_path / "f", os.O_RDONLY)
    assert confine._read(fd, 99) is None
    os.lseek(fd, 0, os.SEEK_SET)
    assert confine._read(fd, 100) == b"x" * 100
    os.close(fd)


def test_every_reason_has_a_known_code_and_words_that_compose():
    for reason in Reason:
        error = adapter.said(Refused(reason, "a\x1bb", target="t" * 999, detail="d", err=errno.EIO))
        assert error.code in CODES
        assert error.message.isprintable()
        assert "{" not in error.message
        assert error.hint


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, Reason.NO_SPACE),
        (errno.EDQUOT, Reason.NO_SPACE),
        (errno.EFBIG, Reason.NO_SPACE),
        (errno.EROFS, Reason.READ_ONLY),
        (errno.EXDEV, Reason.CROSSES_MOUNT),
        (errno.EMLINK, Reason.SYMLINK),
        (93, Reason.ESCAPES),
        (errno.EIO, Reason.IO),
    ],
)
def test_errno_becomes_its_reason(number, reason):
    assert refusal(OSError(number, ""), "x").reason is reason


def test_secret_is_not_in_the_representation_of_what_is_wanted():
    from vault_svc.domain.receipt import Owner

    assert "s3cr3t" not in repr(confine_stage.Wanted(kit.SECRET, Owner(1, 1), 0o600))


def test_mount_ids_of_both_sources_agree(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    by_statx = mounts._by_statx(fd)
    if by_statx is None:
        pytest.skip("this kernel has no STATX_MNT_ID")
    assert by_statx == mounts._by_fdinfo(fd)
    os.close(fd)


def test_openat2_gives_the_budget_up_after_sixteen_refusals_to_answer(monkeypatch):
    calls = []
    monkeypatch.setattr(openat2, "_syscall", lambda *a: calls.append(a) or -errno.EAGAIN)
    with pytest.raises(BlockingIOError):
        openat2.openat2(-1, "x", 0)
    assert len(calls) == 16


def test_inode_gets_its_name_through_proc_where_the_empty_path_is_denied(tmp_path, monkeypatch):
    real, flags = linkat._call, []

    def old_kernel(old_fd, old, new_fd, new, flag):
        import ctypes

        flags.append(flag)
        if flag == linkat._AT_EMPTY_PATH:
            ctypes.set_errno(errno.ENOENT)
            return -1
        return real(old_fd, old, new_fd, new, flag)

    monkeypatch.setattr(linkat, "_call", old_kernel)
    here = os.open(tmp_path, os.O_RDONLY)
    fd = os.open(".", os.O_RDWR | os.O_TMPFILE, 0o600, dir_fd=here)
    linkat.name_inode(fd, here, "named")
    assert (tmp_path / "named").stat().st_ino == os.fstat(fd).st_ino
    assert len(flags) == 2
    with pytest.raises(FileExistsError):
        linkat.name_inode(fd, here, "named")
    os.close(fd)
    os.close(here)


def test_root_is_proven_by_its_inode(ready):
    ino = ready.delivery.prove_root(ready.jail)
    assert ino == ready.arena.root.stat().st_ino
    with pytest.raises(ColibriError) as caught:
        ready.delivery.prove_root(JailRoot(ready.jail.path, ino + 1))
    assert str(ino + 1) in caught.value.message


def test_named_staging_delivers_the_same(ready, monkeypatch):
    monkeypatch.setattr(confine_stage, "_O_TMPFILE", 0)
    ready.place()
    ready.place()
    assert ready.arena.good(ready.inspect())
    assert ready.arena.leftovers() == []
