# ruff: noqa: F811 - fixtures of another file are parameters here
"""More of the hostile tenant in real containers: descriptors, flags, inodes, bind mounts, links."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.attack.test_containers import (  # noqa: F401 - its fixtures
    NAME,
    SECRET,
    mend,
    place,
    siege,
    unharmed,
    walk,
)
from tests.kit import oracle
from tests.kit.engines import OWNER
from vault_svc.errors import ColibriError
from vault_svc.ports.delivery import JailRoot

pytestmark = [pytest.mark.attack, pytest.mark.root, pytest.mark.xdist_group("containers")]

_USER, _MOUNT = 0x10000000, 0x00020000
_libc = ctypes.CDLL(None, use_errno=True)


def _enter(pid: int) -> None:
    """Become root of a jail for good, as a process of its tenant's."""
    root = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_DIRECTORY)
    for name, kind in (("user", _USER), ("mnt", _MOUNT)):
        theirs = f"/proc/{pid}/ns/{name}"
        if os.stat(theirs).st_ino != os.stat(f"/proc/self/ns/{name}").st_ino:
            space = os.open(theirs, os.O_RDONLY)
            if _libc.setns(space, kind):
                raise OSError(ctypes.get_errno(), f"setns {name}")
            os.close(space)
    os.fchdir(root)
    os.chroot(".")
    os.close(root)
    os.setgid(0)
    os.setuid(0)


@contextlib.contextmanager
def tenant(pid: int, act: Callable[[], None]) -> Iterator[int]:
    """Run act as root of the jail, then wait; yield its number as the host counts."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _enter(pid)
            act()
            os.write(writing, b"1")
            signal.pause()
        finally:
            os._exit(1)
    os.close(writing)
    try:
        assert os.read(reading, 1) == b"1", "the tenant's process failed"
        yield child
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_descriptor_of_the_neighbours_root_passed_over_a_socket_leads_no_delivery_there(
    siege, walk
):
    """Two tenants that work together: one hands out its root, the other puts it in the way."""
    ours, theirs = socket.socketpair()
    neighbour = siege.place.engine.pid_of("acme1")
    held: list[int] = []

    def give() -> None:
        socket.send_fds(theirs, [b"x"], [os.open("/", os.O_RDONLY | os.O_DIRECTORY)])

    def take() -> None:
        _, fds, _, _ = socket.recv_fds(ours, 1, 1)
        os.dup2(fds[0], 100)
        with contextlib.suppress(OSError):  # another mount: it can neither link nor move it here
            os.rename("home/own", "/home/taken", src_dir_fd=100)
            held.append(1)

    with tenant(neighbour, give), tenant(siege.pid, take) as thief:
        assert not held
        siege.inside(f"rmdir /home/own && ln -s /proc/{thief}/fd/100/home/app /home/own")
        assert siege.deliver(walk) == "path_not_plain"
        assert siege.look() == siege.before
        siege.naively()  # the control: the neighbour's root is written to
    written = Path(siege.place.engine.root_of("acme1"), "home/app/.env")
    assert written.read_bytes() == SECRET
    written.unlink()
    siege.before = siege.look()


LINKS = ("/proc/self/root", "/proc/thread-self/root", "/proc/self/task/../root")


@pytest.mark.parametrize("link", LINKS)
def test_magic_link_to_the_root_of_whoever_follows_it_is_refused(siege, walk, link):
    siege.inside(f"rmdir /home/own && ln -s '{link}{siege.outside}/dir' /home/own")
    assert siege.deliver(walk) == "path_not_plain"
    assert unharmed(siege)
    siege.naively()
    mend(siege)


def test_tenants_own_procfs_in_the_way_is_not_followed_to_the_hosts_root(siege, walk):
    """A7: `/home/own` is on the jail's procfs, where `root` is a magic link."""
    siege.inside("mount -t proc proc /home/own")
    assert siege.deliver(walk) == "shadowed"
    assert not siege.host_file().exists()


@contextlib.contextmanager
def flagged(letter: str, path: Path) -> Iterator[None]:
    subprocess.run(["chattr", f"+{letter}", path], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", f"-{letter}", path], check=True, capture_output=True)


@pytest.mark.parametrize("letter", ["i", "a"])
def test_immutable_or_append_only_file_is_read_only_and_stays_as_it_was(siege, walk, letter):
    assert siege.deliver(walk) == "delivered"
    with flagged(letter, siege.host_file()):
        assert siege.deliver(walk, b"TOKEN=newer\n") == "read_only"
        with pytest.raises(ColibriError) as caught:
            siege.place.delivery(walk).remove(siege.root, ("home", "own", ".env"))
        assert caught.value.code == "read_only"
        assert siege.host_file().read_bytes() == SECRET
    assert os.listdir(siege.host_file().parent) == [".env"]
    assert siege.deliver(walk, b"TOKEN=newer\n") == "delivered"


def test_immutable_directory_is_read_only_and_nothing_is_left_in_it(siege, walk):
    with flagged("i", siege.host_file().parent):
        assert siege.deliver(walk) == "read_only"
        assert os.listdir(siege.host_file().parent) == []
    assert siege.deliver(walk) == "delivered"


def test_append_only_directory_takes_no_second_secret_and_keeps_none_aside(siege, walk):
    assert siege.deliver(walk) == "delivered"
    with flagged("a", siege.host_file().parent):
        assert siege.deliver(walk, b"TOKEN=newer\n") == "read_only"
    left = [path for path in siege.host_file().parent.iterdir() if path.name != ".env"]
    assert all(path.stat().st_size == 0 for path in left)
    assert siege.host_file().read_bytes() == SECRET
    assert siege.deliver(walk, b"TOKEN=newer\n") == "delivered"  # and sweeps what was left
    assert os.listdir(siege.host_file().parent) == [".env"]


def test_access_list_on_the_file_itself_does_not_pass_to_the_next_one(siege, walk):
    assert siege.deliver(walk) == "delivered"
    line = ["setfacl", "-m", "u:4242:rw", siege.host_file()]
    subprocess.run(line, check=True, capture_output=True)
    assert siege.deliver(walk, b"TOKEN=newer\n") == "delivered"
    shown = subprocess.run(["getfacl", "-cn", siege.host_file()], capture_output=True, check=True)
    assert b"4242" not in shown.stdout


def _top_mount(path: Path) -> str:
    line = ["findmnt", "--noheadings", "--output=TARGET", "--target", str(path)]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()


def test_exhausted_inodes_are_no_space_and_the_old_secret_stays(siege, walk):
    assert siege.deliver(walk) == "delivered"
    base = siege.place.base
    found = os.statvfs(base)
    line = ["mount", "-o", f"remount,nr_inodes={found.f_files - found.f_ffree}", _top_mount(base)]
    subprocess.run(line, check=True, capture_output=True)
    try:
        with pytest.raises(OSError, match="No space"):  # the control: there is none left
            (base / "one-more").touch()
        assert siege.deliver(walk, b"TOKEN=newer\n") == "no_space"
        assert siege.host_file().read_bytes() == SECRET
        assert os.listdir(siege.host_file().parent) == [".env"]
    finally:
        line = ["mount", "-o", f"remount,nr_inodes={found.f_files}", _top_mount(base)]
        subprocess.run(line, check=True, capture_output=True)
    assert siege.deliver(walk, b"TOKEN=newer\n") == "delivered"


@contextlib.contextmanager
def bound(source: str | Path, target: str | Path) -> Iterator[None]:
    subprocess.run(["mount", "--bind", str(source), str(target)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(target)], check=True)


def test_bind_mount_of_the_neighbours_directory_over_ours_is_refused(siege, walk):
    """As an operator's shared volume would be; the tenant itself sees only its own jail."""
    theirs = Path(siege.place.engine.root_of("acme1"), "home/app")
    with bound(theirs, siege.host_file().parent):
        code = siege.deliver(walk)
        assert code in {"crosses_mount", "shadowed"}
        assert siege.look() == siege.before
        siege.naively()
    assert (theirs / ".env").read_bytes() == SECRET  # the control: the neighbour has it
    (theirs / ".env").unlink()
    siege.before = siege.look()


def test_bind_mount_of_the_neighbours_root_over_ours_is_another_root(siege, walk):
    with bound(siege.place.engine.root_of("acme1"), siege.path):
        assert siege.deliver(walk) in {"jail_root_mismatch", "crosses_mount"}
    assert siege.look() == siege.before
    assert siege.deliver(walk) == "delivered"


def test_tenants_bind_mounts_of_its_own_are_shadowed_where_they_hide_the_file_and_nowhere_else(
    siege, walk
):
    siege.inside("mkdir -p /srv && mount -o bind /home /srv")
    assert siege.deliver(walk) == "delivered"
    siege.inside("mkdir /srv/other && mount -o bind /srv/other /home/own")
    assert siege.deliver(walk, b"TOKEN=newer\n") == "shadowed"


def test_root_renamed_between_proof_and_write_takes_nothing(siege, walk):
    moved = Path(f"{siege.path}-moved")
    if siege.place.engine.name == "podman":
        with pytest.raises(OSError, match="busy"):  # it is a mount point
            os.rename(siege.path, moved)
        return
    os.rename(siege.path, moved)
    try:
        try:
            siege.place.delivery(walk).place(siege.root, ("home", "own", ".env"), SECRET, OWNER)
            code = "delivered"
        except ColibriError as error:
            code = error.code
        assert code in {"path_missing", "jail_root_mismatch"}
        assert not (moved / NAME).exists()
    finally:
        os.rename(moved, siege.path)


def test_number_used_again_by_a_process_of_another_jail_is_refused(siege, walk):
    """The jail's first process dies, and its number is the neighbour's: the root tells."""
    with tenant(siege.place.engine.pid_of("acme1"), lambda: None) as reused:
        siege.root = JailRoot(siege.path, pid=reused, shifts=siege.root.shifts)
        assert siege.deliver(walk) == "jail_root_mismatch"
    assert not siege.host_file().exists()
    siege.root = JailRoot(siege.path, pid=siege.pid, shifts=siege.root.shifts)
    assert siege.deliver(walk) == "delivered"


def test_owner_is_the_tenants_own_number_inside_also_on_an_id_mapped_root(siege, walk):
    mounts = Path(f"/proc/{siege.pid}/mountinfo").read_text().splitlines()
    mapped = any(line.split()[4] == "/" and "idmapped" in line for line in mounts)
    own_map = Path(f"/proc/{siege.pid}/uid_map").read_text().split()[1] != "0"
    assert siege.deliver(walk) == "delivered"
    assert siege.inside(f"stat -c '%u:%g' /{NAME}").strip() == f"{OWNER.uid}:{OWNER.gid}"
    outside = siege.host_file().stat().st_uid
    if mapped:
        assert own_map
        assert outside == OWNER.uid
    elif own_map:
        assert outside != OWNER.uid
    else:
        assert outside == OWNER.uid


def test_picture_of_the_neighbour_sees_one_byte(siege):
    """The oracle's own eyes: what every row above compares would have shown a change."""
    theirs = Path(siege.place.engine.root_of("acme1"), "etc/planted")
    theirs.write_bytes(b"1")
    assert oracle.picture(siege.place.engine.root_of("acme1")) != siege.before[1]
    theirs.unlink()
    siege.before = siege.look()
