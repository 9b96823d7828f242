"""Deleting a tree that a tenant has had its hands in, and still has."""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager, suppress

import pytest

from vault_svc.errors import ColibriError
from vault_svc.hazmat import trees

ROOT = os.geteuid() == 0


@pytest.fixture
def outside(tmp_path):
    """A decoy that nothing may touch."""
    made = tmp_path / "outside"
    (made / "deep").mkdir(parents=True)
    for name in ("f0", "f1", "deep/f2"):
        (made / name).write_text("decoy")
    return made


@pytest.fixture
def victim(tmp_path):
    (tmp_path / "arena" / "victim").mkdir(parents=True)
    return tmp_path / "arena" / "victim"


def snapshot(path) -> list[tuple]:
    found = []
    for where, directories, files in os.walk(path):
        for name in sorted([*directories, *files, "."]):
            state = os.lstat(os.path.join(where, name))
            found.append(
                (where, name, state.st_ino, state.st_mode, state.st_uid, state.st_ctime_ns)
            )
    return found


def delete(victim) -> bool:
    parent = os.open(victim.parent, os.O_RDONLY)
    try:
        return trees.delete_tree(parent, victim.name, str(victim))
    finally:
        os.close(parent)


def test_symlinks_out_are_removed_and_not_followed(victim, outside):
    (victim / "to-dir").symlink_to(outside)
    (victim / "to-file").symlink_to(outside / "f0")
    (victim / "relative").symlink_to("../../outside")
    (victim / "dangling").symlink_to("/no/such")
    (victim / "loop").symlink_to("loop")
    (victim / "sub").mkdir()
    (victim / "sub" / "up").symlink_to("..")
    before = snapshot(outside)
    assert delete(victim)
    assert snapshot(outside) == before
    assert not victim.exists()


def test_a_hard_link_loses_one_name_only(victim, outside):
    os.link(outside / "f0", victim / "same")
    assert delete(victim)
    assert (outside / "f0").read_text() == "decoy"


def test_a_victim_that_is_a_symlink_is_refused(victim, outside):
    victim.rmdir()
    victim.symlink_to(outside)
    before = snapshot(outside)
    with pytest.raises(ColibriError) as caught:
        delete(victim)
    assert caught.value.code == "tampered"
    assert snapshot(outside) == before


def test_what_is_not_there_is_not_deleted(victim):
    victim.rmdir()
    assert delete(victim) is False


def test_every_kind_of_name_goes(victim):
    os.mkfifo(victim / "fifo")
    (victim / "-rf").touch()
    (victim / "a\nb\x1b").touch()
    with open(os.fsencode(victim) + b"/\xff\xfe", "wb"):
        pass
    (victim / ("x" * 255)).mkdir()
    (victim / ".hidden").mkdir()
    assert delete(victim)


@pytest.mark.root
def test_devices_go_without_being_opened(victim):
    os.mknod(victim / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert delete(victim)


@pytest.mark.parametrize("mode", [0o000, 0o500, 0o300, 0o600])
def test_directories_closed_to_us_are_opened_and_go(victim, mode):
    (victim / "a" / "b").mkdir(parents=True)
    (victim / "a" / "b" / "f").touch()
    (victim / "a" / "b").chmod(mode)
    (victim / "a").chmod(mode)
    assert delete(victim)


def dig(top, levels: int) -> None:
    """Make a chain of directories longer than any path may be."""
    fd = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.mkdir("end", dir_fd=fd)
    os.close(fd)


@pytest.mark.parametrize("levels", [200, 2500])
def test_depth_costs_neither_descriptors_nor_recursion(victim, levels):
    dig(victim, levels)
    gc.collect()  # what earlier tests left open must not close in the middle
    before = len(os.listdir("/proc/self/fd"))
    assert delete(victim)
    assert len(os.listdir("/proc/self/fd")) == before


def test_many_files_and_many_full_directories_go(victim):
    for number in range(300):
        (victim / f"d{number}").mkdir()
        for inner in range(10):
            (victim / f"d{number}" / f"f{inner}").touch()
    for number in range(2000):
        (victim / f"f{number}").touch()
    assert delete(victim)


@contextmanager
def mounted(where, kind: str):
    source = where.parent.parent / "source"
    source.mkdir(exist_ok=True)
    (source / "kept").write_text("decoy")
    options = ["-t", "tmpfs", "tmpfs"] if kind == "tmpfs" else ["--bind", str(source)]
    if subprocess.run(["mount", *options, str(where)], capture_output=True, check=False).returncode:
        pytest.skip("this root may not mount")
    try:
        yield source
    finally:
        subprocess.run(["umount", str(where)], check=True)


@pytest.mark.root
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
@pytest.mark.parametrize("seen", ["in the table", "by the kernel", "by its identity"])
def test_a_mount_below_stops_it_and_nothing_beyond_is_touched(victim, kind, seen, monkeypatch):
    """Seen in the mount table before anything is deleted; else each later line holds alone."""
    (victim / "mnt point").mkdir()
    (victim / "first").write_text("still here")
    if seen != "in the table":
        monkeypatch.setattr(trees, "_refuse_mounts_below", lambda path: None)
    if seen == "by its identity":
        monkeypatch.setattr(trees, "_rmdir_empty", lambda here, name: False)
    with mounted(victim / "mnt point", kind) as source:
        (victim / "mnt point" / "inside").write_text("decoy")
        with pytest.raises(ColibriError) as caught:
            delete(victim)
        assert caught.value.code == "crosses_mount"
        assert (victim / "mnt point" / "inside").read_text() == "decoy"
        assert (victim / "first").exists() or seen != "in the table"
        assert (source / "kept").read_text() == "decoy"
    monkeypatch.undo()
    assert delete(victim)


@pytest.mark.root
def test_a_mount_on_a_file_stops_it(victim, monkeypatch):
    (victim / "file").touch()
    (victim.parent / "source").write_text("decoy")
    monkeypatch.setattr(trees, "_refuse_mounts_below", lambda path: None)
    command = ["mount", "--bind", str(victim.parent / "source"), str(victim / "file")]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this root may not mount")
    try:
        with pytest.raises(ColibriError) as caught:
            delete(victim)
    finally:
        subprocess.run(["umount", str(victim / "file")], check=True)
    assert caught.value.code == "crosses_mount"
    assert (victim.parent / "source").read_text() == "decoy"


@pytest.mark.root
def test_what_cannot_be_deleted_is_told(victim):
    (victim / "fixed").touch()
    if subprocess.run(
        ["chattr", "+i", victim / "fixed"], capture_output=True, check=False
    ).returncode:
        pytest.skip("this file system has no immutable files")
    try:
        with pytest.raises(ColibriError) as caught:
            delete(victim)
    finally:
        subprocess.run(["chattr", "-i", victim / "fixed"], check=True)
    assert caught.value.code == "tampered"
    assert delete(victim)


PAIRS = 10  # many, so that the way from the look at a name to its opening is long
ATTACKER = textwrap.dedent("""
    import ctypes, os, resource, sys
    arena, outside = sys.argv[1:]
    libc = ctypes.CDLL(None)
    os.chdir(arena)
    confined = os.geteuid() == 0
    if confined:
        os.chroot(".")
        os.setgroups([])
        os.setresgid(1000, 1000, 1000)
        os.setresuid(1000, 1000, 1000)
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
    resource.setrlimit(resource.RLIMIT_NPROC, (4096, 4096))
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    rename = libc.renameat2
    pairs = [(b"victim/sub%d" % n, b"victim/link%d" % n) for n in range(PAIRS)]
    rounds = 0
    print("ready", flush=True)
    while True:
        for sub, link in pairs:
            rename(-100, sub, -100, link, 2)  # RENAME_EXCHANGE
        rounds += 1
        # Unconfined it would walk through its own links and change the outside itself.
        if confined and rounds % 50 == 0:
            for act in (
                lambda: os.rename("victim/sub0/inner", "victim/moved"),
                lambda: os.rename("victim/moved", "victim/sub0/inner"),
                lambda: os.symlink(outside, "victim/more"),
                lambda: os.mkdir("victim/sub0/new"),
            ):
                try:
                    act()
                except OSError:
                    pass
""").replace("PAIRS", str(PAIRS))


@contextmanager
def attacked(arena, outside):
    """A tenant at work in the arena, jailed there as far as we may jail it."""
    child = subprocess.Popen(
        [sys.executable, "-I", "-c", ATTACKER, str(arena), str(outside)], stdout=subprocess.PIPE
    )
    try:
        assert child.stdout.readline() == b"ready\n"
        yield child
        assert child.poll() is None, "the attacker died"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()


def plant(victim, outside) -> None:
    """Make the tenant's tree apart, so that our own hand is not steered, and put it there."""
    made = outside.parent / "made"
    for number in range(PAIRS):
        (made / f"sub{number}" / "inner").mkdir(parents=True)
        for name in ("f0", "f1", "inner/f2"):
            (made / f"sub{number}" / name).touch()
        (made / f"link{number}").symlink_to(outside)
    if ROOT:
        for where, _, _ in os.walk(made):
            os.chown(where, 1000, 1000)
    made.rename(victim)


def naive_delete(victim) -> None:
    """By paths, as a script would."""
    for number in range(PAIRS):
        for where, _, files in os.walk(victim / f"sub{number}", topdown=False):
            for name in files:
                with suppress(FileNotFoundError):
                    os.remove(os.path.join(where, name))


def clear(victim) -> None:
    """Take the tree away from the attacker, by an exclusive name it does not know."""
    for attempt in range(100):
        try:
            victim.rename(victim.parent / f"spent{time.monotonic_ns()}-{attempt}")
        except FileNotFoundError:
            return


@pytest.mark.race
@pytest.mark.xdist_group("race")
@pytest.mark.parametrize("taking", [True, False])
def test_a_racing_tenant_steers_nothing_outside(victim, outside, taking, monkeypatch):
    """The same attacker beats the naive deleter first.

    As root we take each directory away from the tenant, which ends its race: without that too
    (taking off, as for an ordinary user) nothing outside may be touched.
    """
    if not hasattr(ctypes.CDLL(None), "renameat2"):
        pytest.skip("no renameat2 to attack with")
    victim.rmdir()
    beaten = ended = restless = 0
    with attacked(victim.parent, outside):
        give_up = time.monotonic() + 90
        while beaten < 2 and time.monotonic() < give_up:
            plant(victim, outside)
            with suppress(OSError):
                naive_delete(victim)
            if not all((outside / name).exists() for name in ("f0", "f1")):
                beaten += 1
                for name in ("f0", "f1"):
                    (outside / name).write_text("decoy")
            clear(victim)
        assert beaten >= 2, "inconclusive: this attacker does not even beat the naive deleter"
        before = snapshot(outside)
        if not taking:
            monkeypatch.setattr(trees.os, "geteuid", lambda: 1000)
        monkeypatch.setattr(trees, "_MAX_RESTARTS", 50)
        for _ in range(60):
            plant(victim, outside)
            try:
                ended += delete(victim)
            except ColibriError as error:
                assert error.code == "tampered"
                restless += 1
                clear(victim)
            assert snapshot(outside) == before
    print(f"naive beaten {beaten}; ours: {ended} deleted, {restless} restless, 0 outside")
    monkeypatch.undo()
    assert ended >= 10
    shutil.rmtree(victim.parent)


def test_a_tree_that_never_rests_is_given_up_on(victim, monkeypatch):
    """Something keeps filling the directory: we stop, and say what to do."""
    (victim / "sub").mkdir()
    (victim / "sub" / "f").touch()
    real = os.rmdir

    def refill(name, *, dir_fd):
        if name == "sub":
            raise OSError(errno.ENOTEMPTY, "again")
        real(name, dir_fd=dir_fd)

    monkeypatch.setattr(trees, "_MAX_RESTARTS", 5)
    monkeypatch.setattr(trees.os, "rmdir", refill)
    with pytest.raises(ColibriError) as caught:
        delete(victim)
    assert caught.value.code == "tampered"
    assert "stop" in caught.value.hint


def test_a_directory_moved_while_we_are_in_it_is_not_left_upwards(victim, outside, monkeypatch):
    """`..` is proven: here the directory we stand in is moved to another parent once."""
    (victim / "a" / "b").mkdir(parents=True)
    (victim / "a" / "b" / "f").touch()
    (victim / "z").mkdir()
    real, moved = trees._unlink_all, []

    def mover(here):
        left = real(here)
        if not left and not moved and (victim / "a" / "b").exists():
            moved.append((victim / "a" / "b").rename(outside / "b"))
            (outside / "kept").touch()
        return left

    monkeypatch.setattr(trees, "_unlink_all", mover)
    assert delete(victim)
    assert moved
    assert (outside / "kept").exists()
    assert (outside / "f0").exists()
