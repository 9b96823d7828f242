"""Group A of the catalogue: what a tenant leaves at or above the name before colibri comes.

Every row runs over both walks; the arena's oracle looks at the host and the jail afterwards.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import naive, oracle
from tests.kit.arena import SECRET, Arena, Attack, is_root, mounted
from vault_svc.errors import ColibriError

pytestmark = pytest.mark.attack
TARGET = "home/app/.env"


def refused(code: str, act, *args) -> ColibriError:
    with pytest.raises(ColibriError) as caught:
        act(*args)
    assert caught.value.code == code, caught.value.line()
    assert SECRET.decode().strip() not in caught.value.line()
    return caught.value


def delivered(attack: Attack, displaced: str) -> None:
    """Place, and look at the result from the host: new inode, whole, 0600, owner, alone."""
    placed = attack.place()
    assert placed.displaced == displaced
    status = attack.arena.env.lstat()
    assert (status.st_dev, status.st_ino, status.st_size) == (placed.dev, placed.ino, len(SECRET))
    assert stat.S_ISREG(status.st_mode)
    assert attack.arena.good(attack.inspect())


# A1 to A3: a symlink at the name.


@pytest.mark.parametrize("target", ["{victim}", "{outside}/new", "../../../../../outside/victim"])
def test_a1_a2_a3_symlink_at_the_name_is_replaced_and_its_target_untouched(attack, target):
    arena = attack.arena
    arena.env.symlink_to(target.format(victim=arena.victim, outside=arena.outside))
    arena.arm(TARGET)
    assert attack.inspect().kind == "symlink"
    assert attack.inspect().content is None
    delivered(attack, "symlink")


@pytest.mark.parametrize("target", ["{victim}", "{outside}/new"])
def test_a1_a2_symlink_at_the_name_is_removed_and_its_target_untouched(attack, target):
    arena = attack.arena
    arena.env.symlink_to(target.format(victim=arena.victim, outside=arena.outside))
    arena.arm(TARGET)
    assert attack.remove() == "symlink"
    assert attack.remove() == "missing"


def test_a1_control_the_naive_writer_follows_the_symlink(arena):
    before = arena.victim.read_bytes()
    arena.env.symlink_to(arena.victim)
    naive.plain(str(arena.root), TARGET, b"escaped\n", arena.owner)
    assert arena.victim.read_bytes() != before
    arena.arm()


# A4 to A8: a symlink on the way.


@pytest.mark.parametrize("target", ["{dir}", "../../../../outside/dir", "/etc", "../etc"])
def test_a4_symlinked_parent_is_refused_by_name_and_target(attack, target):
    arena = attack.arena
    target = target.format(dir=arena.dir)
    arena.app.rmdir()
    arena.app.symlink_to(target)
    arena.arm()
    error = refused("path_not_plain", attack.place)
    assert "'/home/app'" in error.message
    assert target in error.message
    refused("path_not_plain", attack.inspect)
    refused("path_not_plain", attack.remove)


def test_a4_hostile_names_of_targets_are_escaped_and_bounded_in_the_message(attack):
    arena = attack.arena
    arena.app.rmdir()
    arena.app.symlink_to("/\x1b[2J\n" + "x" * 2000)
    arena.arm()
    error = refused("path_not_plain", attack.place)
    assert error.message.isprintable()
    assert len(error.message) < 600


def test_a5_symlinked_first_component_is_refused_with_the_canonical_hint(attack):
    arena = attack.arena
    (arena.root / "usr").mkdir()
    arena.home.rename(arena.root / "usr/home")
    arena.home.symlink_to("usr/home")
    arena.arm()
    error = refused("path_not_plain", attack.place)
    assert "'/home'" in error.message
    assert "usr/home" in error.message
    assert "canonical" in error.hint


@pytest.mark.parametrize("link", ["self/root{dir}", "self/fd/{fd}", "self/cwd", "{pid}/root{dir}"])
def test_a6_magic_link_is_refused(attack, link):
    arena = attack.arena
    fd = os.open(arena.dir, os.O_RDONLY)
    try:
        arena.app.rmdir()
        arena.app.symlink_to("/proc/" + link.format(dir=arena.dir, fd=fd, pid=os.getpid()))
        arena.arm()
        refused("path_not_plain", attack.place)
        arena.check()
    finally:
        os.close(fd)
    arena.arm()


@pytest.mark.root
@pytest.mark.parametrize("path", ["/proc/self/root{dir}/x", "/proc/self/cwd/x", "/proc/x"])
def test_a7_path_through_a_visible_procfs_is_refused(attack, path):
    arena = attack.arena
    (arena.root / "proc").mkdir()
    with mounted("proc", "proc", arena.root / "proc"):
        arena.arm()
        refused("crosses_mount", attack.place, path.format(dir=arena.dir))
        refused("crosses_mount", attack.inspect, path.format(dir=arena.dir))
        arena.check()
    arena.arm()


@pytest.mark.root
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_a7_foreign_mount_at_the_parent_is_refused(attack, kind):
    arena = attack.arena
    bind = 0x1000 if kind == "bind" else 0
    source = str(arena.dir) if bind else "tmpfs"
    with mounted("" if bind else "tmpfs", source, arena.app, flags=bind):
        arena.arm()
        refused("crosses_mount", attack.place)
        refused("crosses_mount", attack.remove)
        arena.check()
    arena.arm()


@pytest.mark.root
def test_a7_file_mounted_on_the_name_is_refused_and_left(attack):
    arena = attack.arena
    arena.file(arena.env)
    with mounted("", str(arena.victim), arena.env, flags=0x1000):
        arena.arm(touched="home/app")
        refused("crosses_mount", attack.inspect)
        refused("crosses_mount", attack.place)
        refused("crosses_mount", attack.remove)
        arena.check()
    arena.arm()


@pytest.mark.parametrize("links", ["loop", "chain"])
def test_a8_symlink_loop_and_long_chain_are_refused(attack, links):
    arena = attack.arena
    arena.app.rmdir()
    if links == "loop":
        arena.app.symlink_to("app")
    else:
        for number in range(41):
            (arena.home / f"l{number}").symlink_to(f"l{number + 1}")
        (arena.home / "l41").mkdir()
        arena.app.symlink_to("l0")
    arena.arm()
    refused("path_not_plain", attack.place)


def test_a8_chain_that_blinds_realpath_is_refused_and_the_naive_check_is_blind(attack):
    arena = attack.arena
    blind = _blind_realpath(arena)
    resolved = os.path.realpath(arena.root / TARGET)
    assert resolved.startswith(f"{arena.root}/"), "control: realpath must say it is inside"
    naive.open_original(str(arena.root), TARGET, b"escaped\n", arena.owner)
    assert (blind / ".env").read_bytes() == b"escaped\n", "control: the naive writer must escape"
    (blind / ".env").unlink()
    arena.arm()
    refused("path_not_plain", attack.place)


def _blind_realpath(arena: Arena) -> Path:
    """Containment 3.4: sixteen long directories behind short links, climbed by one link."""
    fd = os.open(arena.root, os.O_RDONLY)
    os.mkdir("x", dir_fd=fd)
    inside = os.open("x", os.O_RDONLY, dir_fd=fd)
    os.close(fd)
    letters = "abcdefghijklmnop"
    for letter in letters:
        name = letter * 247
        os.mkdir(name, dir_fd=inside)
        os.symlink(name, letter, dir_fd=inside)
        below = os.open(name, os.O_RDONLY, dir_fd=inside)
        os.close(inside)
        inside = below
    climber = "l" * 254
    os.symlink("../" * len(letters), climber, dir_fd=inside)
    os.close(inside)
    up = "../" * 4  # from x through root, t1 and jails to the top
    arena.app.rmdir()
    os.symlink(f"../x/{'/'.join(letters)}/{climber}/{up}outside/dir", arena.app)
    return arena.dir


# A9: paths that never reach the kernel.

BAD_PATHS = {
    "dotdot": ("..", "x"),
    "inner-dotdot": ("a", "..", "x"),
    "dot": ("a", "."),
    "absolute": ("/etc", "x"),
    "empty": (),
    "empty-component": ("a", "", "b"),
    "trailing-slash": ("a", ""),
    "slash": ("a/b",),
    "nul": ("a\0b",),
    "many": ("a",) * 600,
    "long": ("n" * 256,),
    "newline": ("a\nb",),
    "escape": ("\x1b[2J",),
    "rtl": ("\u202eexe",),
    "umlaut": ("\u00e4",),
    "bytes": (os.fsdecode(b"\xff"),),
}


@pytest.mark.parametrize("path", BAD_PATHS.values(), ids=BAD_PATHS.keys())
@pytest.mark.parametrize("call", ["place", "inspect", "remove"])
def test_a9_bad_path_is_refused_before_any_system_call(attack, path, call, monkeypatch):
    arena = attack.arena
    arena.arm()

    def never(*args, **kwargs):
        raise AssertionError("a system call saw the path")

    calls = {
        "place": lambda: attack.delivery.place(attack.jail, path, SECRET, arena.owner),
        "inspect": lambda: attack.delivery.inspect(attack.jail, path, max_bytes=9),
        "remove": lambda: attack.delivery.remove(attack.jail, path),
    }
    with monkeypatch.context() as patched:
        patched.setattr("os.open", never)
        patched.setattr("vault_svc.hazmat.openat2._syscall", never)
        error = refused("bad_path", calls[call])
    assert error.line().isprintable()


def test_a9_the_name_as_one_string_is_no_path(attack):
    attack.arena.arm()
    with pytest.raises(ColibriError, match="not a path"):
        attack.delivery.inspect(attack.jail, "/home", max_bytes=9)


# A10 to A13, A17: what stands at the name.


@pytest.mark.parametrize("full", [False, True], ids=["empty", "full"])
def test_a10_directory_at_the_name_is_refused_and_never_removed(attack, full):
    arena = attack.arena
    arena.env.mkdir()
    if full:
        arena.file(arena.env / "x")
    arena.arm()
    assert attack.inspect().kind == "directory"
    refused("target_not_regular", attack.place)
    refused("target_not_regular", attack.remove)


@pytest.fixture(params=["fifo", "fifo with reader", "socket"])
def special(request, arena) -> Iterator[str]:
    kind = request.param.split()[0]
    opened = []
    if kind == "fifo":
        os.mkfifo(arena.env)
    else:
        listener = socket.socket(socket.AF_UNIX)
        here = os.open(arena.app, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/.env")
        os.close(here)
        opened.append(listener)
    if "reader" in request.param:
        opened.append(os.fdopen(os.open(arena.env, os.O_RDONLY | os.O_NONBLOCK), "rb"))
    arena.arm(TARGET)
    yield kind
    arena.check()
    for each in opened:
        each.close()
    arena.arm(TARGET)


def test_a11_fifo_or_socket_is_replaced_without_opening_it(attack, special):
    assert attack.inspect().kind == special
    delivered(attack, special)


def test_a11_fifo_or_socket_is_removed_without_opening_it(attack, special):
    assert attack.remove() == special


def test_a11_control_the_naive_writer_hangs_on_the_fifo(arena):
    os.mkfifo(arena.env)
    assert oracle.hangs(lambda: naive.plain(str(arena.root), TARGET, b"x", arena.owner))
    arena.arm()


@pytest.mark.root
def test_a12_character_device_is_replaced_and_removed_unopened(attack):
    arena = attack.arena
    os.mknod(arena.env, stat.S_IFCHR | 0o666, os.makedev(1, 7))
    arena.arm(TARGET)
    delivered(attack, "char device")
    arena.env.unlink()
    os.mknod(arena.env, stat.S_IFCHR | 0o666, os.makedev(1, 7))
    assert attack.remove() == "char device"


@pytest.fixture
def disk(arena) -> Iterator[Path]:
    """A block device node at the name, and the file behind it."""
    if shutil.which("losetup") is None:
        pytest.skip("losetup is not installed")
    backing = arena.file(arena.outside / "disk", content=b"\0" * 65536)
    command = ["losetup", "--find", "--show", backing]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip("this host has no loop devices")
    loop = made.stdout.strip()
    os.mknod(arena.env, stat.S_IFBLK | 0o666, os.stat(loop).st_rdev)
    yield backing
    subprocess.run(["losetup", "--detach", loop], check=True)


@pytest.mark.root
def test_a12_block_device_is_replaced_and_the_disk_keeps_its_bytes(attack, disk):
    attack.arena.arm(TARGET)
    delivered(attack, "block device")
    os.sync()
    assert disk.read_bytes() == b"\0" * 65536


@pytest.mark.root
def test_a12_control_the_naive_writer_writes_to_the_disk(arena, disk):
    naive.plain(str(arena.root), TARGET, b"escaped\n", arena.owner)
    os.sync()
    assert disk.read_bytes().startswith(b"escaped\n")
    arena.arm()


@pytest.mark.parametrize("other", ["etc/shadow", "home/other"])
def test_a13_hard_link_is_replaced_and_the_other_name_kept(attack, other):
    arena = attack.arena
    shared = arena.root / other
    if not shared.exists():
        arena.file(shared, 0o600, 1001)
    before = (shared.read_bytes(), shared.stat())
    os.link(shared, arena.env)
    arena.arm(TARGET, other)
    delivered(attack, "file")
    after = shared.stat()
    assert shared.read_bytes() == before[0]
    assert (after.st_uid, after.st_mode, after.st_ino) == (
        before[1].st_uid,
        before[1].st_mode,
        before[1].st_ino,
    )
    assert after.st_nlink == 1


@pytest.mark.root
def test_a13_control_the_naive_writer_gives_the_other_name_away(arena):
    os.link(arena.shadow, arena.env)
    naive.plain(str(arena.root), TARGET, b"x\n", arena.owner)
    assert arena.shadow.stat().st_uid == arena.owner.uid
    arena.arm()


# A14: flags.


@pytest.fixture
def flag() -> Iterator:
    """Set an inode flag with chattr and take it away in the end."""
    if shutil.which("chattr") is None:
        pytest.skip("chattr is not installed")
    flagged: list[tuple[str, Path]] = []

    def put(letter: str, path: Path) -> None:
        made = subprocess.run(["chattr", f"+{letter}", path], capture_output=True, check=False)
        if made.returncode != 0:
            pytest.skip("this file system has no inode flags")
        flagged.append((letter, path))

    def clear() -> None:
        while flagged:
            letter, path = flagged.pop()
            subprocess.run(["chattr", f"-{letter}", path], check=True)

    put.clear = clear
    yield put
    clear()


@pytest.mark.root
@pytest.mark.parametrize(("letter", "name"), [("i", "app"), ("i", "env"), ("a", "env")])
def test_a14_immutable_or_append_only_is_reported_and_the_old_file_kept(attack, flag, letter, name):
    arena = attack.arena
    arena.file(arena.env, 0o600, arena.owner.uid, b"OLD=1\n")
    flag(letter, getattr(arena, name))
    arena.arm(touched="home/app")
    refused("read_only", attack.place)
    refused("read_only", attack.remove)
    assert arena.env.read_bytes() == b"OLD=1\n"
    arena.check()
    flag.clear()
    arena.arm(TARGET)
    delivered(attack, "file")


@pytest.mark.root
@pytest.mark.parametrize("staging", ["nameless", "named"])
def test_a14_append_only_parent_keeps_no_secret_in_a_temporary_file(
    attack, flag, staging, monkeypatch
):
    arena = attack.arena
    arena.file(arena.env, 0o600, arena.owner.uid, b"OLD=1\n")
    if staging == "named":
        monkeypatch.setattr("vault_svc.hazmat.confine_stage._O_TMPFILE", 0)
    flag("a", arena.app)
    refused("read_only", attack.place)
    assert arena.env.read_bytes() == b"OLD=1\n"
    left = [Path(name) for name in arena.leftovers()]
    assert all(path.stat().st_size == 0 for path in left)
    flag.clear()
    arena.arm(TARGET, *(str(path.relative_to(arena.root)) for path in left))
    delivered(attack, "file")  # and sweeps what was left


@pytest.mark.root
def test_a14_first_write_into_an_append_only_parent_is_delivered(attack, flag):
    flag("a", attack.arena.app)
    attack.arena.arm(TARGET)
    delivered(attack, "missing")


# A15: the parent.


@pytest.mark.root
def test_a15_default_acl_of_the_parent_is_not_inherited(attack):
    arena = attack.arena
    none = 0xFFFFFFFF
    # u::rwx u:1001:rwx g::r-x m::rwx o::r-x as the kernel stores it (acl(5), posix_acl_xattr.h).
    entries = [(1, 7, none), (2, 7, 1001), (4, 5, none), (16, 7, none), (32, 5, none)]
    packed = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little")
        + bits.to_bytes(2, "little")
        + (who & 0xFFFFFFFF).to_bytes(4, "little")
        for tag, bits, who in entries
    )
    try:
        os.setxattr(arena.app, "system.posix_acl_default", packed)
    except OSError:
        pytest.skip("this file system has no ACLs")
    inherited = arena.file(arena.app / "control")
    assert "system.posix_acl_access" in os.listxattr(inherited), "control: it is inherited"
    inherited.unlink()
    arena.arm(TARGET)
    delivered(attack, "missing")
    assert os.listxattr(arena.env) == []


@pytest.mark.parametrize("mode", [0o2755, 0o1777, 0o777])
def test_a15_setgid_sticky_and_open_parents_get_the_right_owner_and_mode(attack, mode):
    arena = attack.arena
    if is_root():
        os.chown(arena.app, arena.owner.uid, 1234)
    arena.app.chmod(mode)
    arena.arm(TARGET)
    delivered(attack, "missing")
    assert (arena.env.stat().st_uid, arena.env.stat().st_gid) == (arena.owner.uid, arena.owner.gid)


@pytest.mark.root
def test_a15_parent_of_another_jail_user_is_refused_but_can_be_revoked_from(attack):
    arena = attack.arena
    arena.file(arena.env)
    os.chown(arena.app, 1001, 1001)
    arena.arm(TARGET)
    error = refused("unsafe_parent", attack.place)
    assert "/home/app" in error.message
    assert "1001" in error.message
    assert attack.remove() == "file"


@pytest.mark.root
@pytest.mark.parametrize("uid", [0, "owner"])
def test_a15_parent_of_root_or_of_the_target_is_delivered_to(attack, uid):
    owner = attack.arena.owner.uid if uid == "owner" else uid
    os.chown(attack.arena.app, owner, owner)
    attack.arena.arm(TARGET)
    delivered(attack, "missing")


# A16: missing parents.


def test_a16_missing_parent_is_refused_and_nothing_is_created(attack):
    attack.arena.app.rmdir()
    attack.arena.arm()
    assert attack.inspect().kind == "missing"
    assert attack.remove() == "missing"
    error = refused("path_missing", attack.place)
    assert "'/home/app'" in error.message


@pytest.mark.parametrize("kind", ["file", "fifo"])
def test_a16_file_or_fifo_as_parent_is_refused(attack, kind):
    arena = attack.arena
    arena.app.rmdir()
    arena.file(arena.app) if kind == "file" else os.mkfifo(arena.app)
    arena.arm()
    error = refused("path_not_plain", attack.place)
    assert kind in error.message


def test_a16_create_parents_makes_them_for_the_owner(arena, walk):
    attack = Attack(arena, walk, create_parents=True)
    arena.arm("home/app/a/b/.env", "home/app/a/b", "home/app/a")
    attack.place("/home/app/a/b/.env")
    for made in (arena.app / "a", arena.app / "a/b"):
        status = made.lstat()
        assert (status.st_uid, status.st_gid) == (arena.owner.uid, arena.owner.gid)
        assert stat.S_IMODE(status.st_mode) == 0o700
    assert arena.good(attack.inspect("/home/app/a/b/.env"))


# A17: what the old file was.


@pytest.mark.parametrize("odd", ["setuid", "xattr", "huge", "foreign"])
def test_a17_nothing_of_the_old_file_is_inherited(attack, odd):
    arena = attack.arena
    arena.file(arena.env)
    if odd == "setuid":
        arena.env.chmod(0o6777)
    elif odd == "xattr":
        os.setxattr(arena.env, "user.note", b"mine")
    elif odd == "huge":
        os.truncate(arena.env, 1 << 30)
    arena.arm(TARGET)
    found = attack.inspect()
    assert (found.kind, found.content is None) == ("file", odd == "huge")
    delivered(attack, "file")
    assert os.listxattr(arena.env) == []


def test_delivery_at_the_top_of_the_jail(attack):
    attack.arena.arm(".env")
    attack.place("/.env")
    assert attack.arena.good(attack.inspect("/.env"))
    assert attack.remove("/.env") == "file"
