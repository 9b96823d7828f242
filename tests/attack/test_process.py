"""Group D of the catalogue: owners, full disks, kernels without openat2, odd processes."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import arena as kit
from tests.kit.arena import ENV, SECRET, Arena, Attack, is_root
from vault_svc.adapters.delivery import ConfinedDelivery
from vault_svc.domain.paths import jail_path
from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError
from vault_svc.hazmat import confine_stage, openat2
from vault_svc.ports.delivery import JailRoot

pytestmark = pytest.mark.attack
TARGET = "home/app/.env"
OLD = b"OLD=1\n"


def refused(code: str, act, *args) -> ColibriError:
    with pytest.raises(ColibriError) as caught:
        act(*args)
    assert caught.value.code == code, caught.value.line()
    return caught.value


# D1, D2: owners.


def test_d1_owner_that_may_not_be_set_is_unmapped_and_nothing_is_left(attack):
    """Root may not set -1 (it would leave root as it is), an ordinary user not root's group."""
    attack.arena.arm(touched="home/app")
    path = jail_path(ENV)
    other = Owner(attack.arena.owner.uid, -1 if is_root() else 0)
    refused("owner_unmapped", attack.delivery.place, attack.jail, path, SECRET, other)


@pytest.mark.root
def test_d1_owner_without_a_number_is_unmapped_and_nothing_is_left(attack, monkeypatch):
    def unmapped(fd: int, uid: int, gid: int) -> None:
        raise OSError(errno.EOVERFLOW, os.strerror(errno.EOVERFLOW))

    attack.arena.arm(touched="home/app")
    with monkeypatch.context() as patched:
        patched.setattr(confine_stage.os, "fchown", unmapped)
        refused("owner_unmapped", attack.place)


@pytest.mark.parametrize("passwd", ["app:x:0:0::/:/bin/sh\n" * 2, "symlink", "fifo", "huge"])
def test_d2_jails_own_passwd_has_no_say(attack, passwd):
    arena = attack.arena
    path = arena.root / "etc/passwd"
    if passwd == "symlink":
        path.symlink_to("/etc/passwd")
    elif passwd == "fifo":
        os.mkfifo(path)
    elif passwd == "huge":
        path.touch()
        os.truncate(path, 1 << 30)
    else:
        path.write_text(passwd)
    arena.arm(TARGET)
    attack.place()
    assert arena.good(attack.inspect())


# D3: nothing left to write on.


@pytest.fixture
def small(walk) -> Iterator[Attack]:
    """A jail on a small tmpfs of its own, with a delivered file."""
    with (
        kit.safe_directory() as top,
        kit.mounted("tmpfs", "tmpfs", top, "mode=755,size=1m,nr_inodes=40"),
    ):
        arena = Arena(top)
        made = Attack(arena, walk)
        made.place(content=OLD)
        yield made
        assert arena.env.read_bytes() == OLD
        assert arena.leftovers() == []


def _fill(directory: Path) -> None:
    try:
        with (directory / "filler").open("wb", buffering=0) as handle:
            while handle.write(b"x" * 4096):
                pass
    except OSError as error:
        assert error.errno == errno.ENOSPC


@pytest.mark.root
@pytest.mark.parametrize("staging", ["nameless", "named"])
def test_d3_full_file_system_is_no_space_and_keeps_the_old_file(small, staging, monkeypatch):
    if staging == "named":
        monkeypatch.setattr(confine_stage, "_O_TMPFILE", 0)
    _fill(small.arena.outside)
    error = refused("no_space", small.place, ENV, SECRET * 1000)
    assert error.retryable
    assert f"'{ENV}'" in error.message
    (small.arena.outside / "filler").unlink()


@pytest.mark.root
@pytest.mark.parametrize("staging", ["nameless", "named"])
def test_d3_no_inodes_left_is_no_space_and_keeps_the_old_file(small, staging, monkeypatch):
    if staging == "named":
        monkeypatch.setattr(confine_stage, "_O_TMPFILE", 0)
    made = []
    try:
        for number in range(50):
            path = small.arena.outside / f"inode{number}"
            path.touch()
            made.append(path)
    except OSError as error:
        assert error.errno == errno.ENOSPC
    assert len(made) < 50
    assert f"'{ENV}'" in refused("no_space", small.place).message
    for path in made:
        path.unlink()


@pytest.mark.root
def test_d3_read_only_file_system_is_read_only_and_keeps_the_old_file(small):
    remount, readonly = 32, 1
    top = str(small.arena.top).encode()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"tmpfs", top, b"tmpfs", remount | readonly, None) == 0
    refused("read_only", small.place)
    refused("read_only", small.remove)
    assert small.inspect().content == OLD
    assert libc.mount(b"tmpfs", top, b"tmpfs", remount, None) == 0


def test_d3_file_size_limit_is_no_space_and_keeps_the_old_file(attack):
    attack.place(content=OLD)
    attack.arena.arm(touched="home/app")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        error = refused("no_space", attack.place, ENV, b"x" * 8192)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in error.message
    assert attack.inspect().content == OLD


FAULTS = ["fchmod", "fsync", "write", "rename", "fchown", "ftruncate"]


@pytest.mark.parametrize("staging", ["nameless", "named"])
@pytest.mark.parametrize("call", FAULTS)
@pytest.mark.parametrize(
    "number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EPERM]
)
def test_d3_error_at_a_call_before_the_rename_keeps_the_old_file(
    attack, staging, call, number, monkeypatch
):
    arena = attack.arena
    attack.place(content=OLD)
    arena.arm(touched="home/app")
    if staging == "named":
        monkeypatch.setattr(confine_stage, "_O_TMPFILE", 0)

    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        if call == "ftruncate":  # the cleaning fails as well: the name still goes
            patched.setattr(confine_stage.os, "fchmod", fail)
        patched.setattr(confine_stage.os, call, fail)
        with pytest.raises(ColibriError) as caught:
            attack.place()
    assert caught.value.code in {"read_only", "no_space", "owner_unmapped"}
    assert attack.inspect().content == OLD


def test_d3_error_syncing_the_directory_is_reported_and_the_next_run_repairs(attack, monkeypatch):
    arena = attack.arena
    arena.arm(TARGET)
    real = os.fsync

    def fail(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(fd)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        refused("read_only", attack.place)
    attack.place()
    assert arena.good(attack.inspect())


# D4: what a killed run leaves.


def test_d4_stale_temporary_file_is_swept_by_the_next_place_or_remove(attack):
    arena = attack.arena
    stale = arena.app / confine_stage.temporary_name()
    for act in (attack.place, attack.remove):
        arena.file(stale, 0o600, arena.owner.uid, b"TOKEN=old\n")
        act()
        assert not stale.exists()
    arena.arm()


def test_d4_sweep_spares_a_live_writer_and_what_is_not_ours(attack):
    import fcntl

    arena = attack.arena
    live = arena.file(arena.app / confine_stage.temporary_name(), 0o600)
    kept = [arena.app / name for name in (".colibri-xyz.tmp", "x.colibri-.tmp", ".env.bak")]
    for path in kept:
        arena.file(path)
    (arena.app / f".colibri-{'a' * 24}.tmp").symlink_to(arena.victim)
    os.mkfifo(arena.app / f".colibri-{'b' * 24}.tmp")
    (arena.app / f".colibri-{'c' * 24}.tmp").mkdir()
    with live.open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        attack.place()
        assert live.exists()
    attack.remove()
    assert not live.exists()
    assert all(path.exists() for path in kept)
    for path in list(arena.app.iterdir()):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    arena.arm()


def test_d4_order_is_sync_file_name_sync_directory(attack, monkeypatch):
    """The order a power cut must not see otherwise; the crash suite cuts, this looks."""
    attack.arena.arm(TARGET)
    seen: list[str] = []
    real_sync, real_rename = os.fsync, os.rename
    real_name = confine_stage.name_inode

    def sync(fd: int) -> None:
        status = os.fstat(fd)
        seen.append("sync directory" if stat.S_ISDIR(status.st_mode) else "sync file")
        if stat.S_ISREG(status.st_mode):
            assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o600, attack.arena.owner.uid)
        real_sync(fd)

    def name(*args):
        seen.append("name")
        real_name(*args)

    def rename(*args, **kwargs):
        seen.append("rename")
        real_rename(*args, **kwargs)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(confine_stage, "name_inode", name)
    attack.place()
    assert seen == ["sync file", "name", "sync directory"]
    seen.clear()
    attack.place()
    assert seen == ["sync file", "name", "rename", "sync directory"]


def test_d4_owner_and_mode_are_set_before_a_byte_is_written(attack, monkeypatch):
    attack.arena.arm(TARGET)
    real, looked = os.write, []

    def write(fd: int, data) -> int:
        status = os.fstat(fd)
        looked.append(
            (stat.S_IMODE(status.st_mode), status.st_uid, status.st_nlink, status.st_size)
        )
        return real(fd, data)

    with monkeypatch.context() as patched:
        patched.setattr(confine_stage.os, "write", write)
        attack.place()
    assert looked == [(0o600, attack.arena.owner.uid, 0, 0)]


# D5, D7: the process.


def test_d5_every_descriptor_is_closed_on_exec_and_none_is_left(attack, monkeypatch):
    arena = attack.arena
    arena.arm(TARGET)
    inheritable: list[int] = []
    real = confine_stage.stage

    def look(*args):
        for name in os.listdir("/proc/self/fd"):
            try:
                if int(name) > 2 and os.get_inheritable(int(name)):
                    inheritable.append(os.readlink(f"/proc/self/fd/{name}"))
            except OSError:
                continue
        return real(*args)

    monkeypatch.setattr(confine_stage, "stage", look)
    attack.place()
    assert not [each for each in inheritable if str(arena.top) in each]


def test_d5_no_descriptor_leaks_from_refusals(attack):
    arena = attack.arena
    arena.env.mkdir()
    (arena.home / "lnk").symlink_to("app")
    arena.arm()
    place = attack.delivery.place
    for _ in range(100):
        refused("target_not_regular", place, attack.jail, jail_path(ENV), b"", arena.owner)
        refused("path_not_plain", attack.delivery.remove, attack.jail, ("home", "lnk", "x"))
        attack.delivery.inspect(attack.jail, ("home", "nope", "x"), max_bytes=1)


CHILD = """
import os, sys
from vault_svc.adapters.delivery import ConfinedDelivery
from vault_svc.domain.receipt import Owner
from vault_svc.ports.delivery import JailRoot
base, state, root, walk, uid, gid, umask, cwd = sys.argv[1:]
if cwd == "deleted":
    os.mkdir(root + "/gone"); os.chdir(root + "/gone"); os.rmdir(root + "/gone")
os.umask(int(umask, 8))
content, owner = b"TOKEN=s3cr3t-of-the-tenant\\n", Owner(int(uid), int(gid))
delivery = ConfinedDelivery([base], state_dir=state, walk=walk)
delivery.place(JailRoot(root), ("home", "app", ".env"), content, owner)
"""


@pytest.mark.parametrize(("umask", "cwd"), [("0", "kept"), ("777", "kept"), ("77", "deleted")])
def test_d7_umask_deleted_cwd_closed_stdin_and_hostile_environment_change_nothing(
    arena, walk, umask, cwd
):
    arena.arm(TARGET, touched=".")
    hostile = {"HOME": str(arena.app), "TMPDIR": str(arena.app), "PATH": str(arena.app)}
    places = [arena.base, arena.state, arena.root, walk]
    owner = [str(arena.owner.uid), str(arena.owner.gid)]
    subprocess.run(
        [sys.executable, "-c", CHILD, *places, *owner, umask, cwd],
        env={**hostile, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=True,
        close_fds=True,
        preexec_fn=lambda: os.close(0),
        timeout=30,
    )
    assert arena.good(Attack(arena, walk).inspect())


# D8: openat2 is not there, or forbidden.


def _answer(number: int):
    return lambda *args: -number


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.E2BIG, errno.EINVAL])
def test_d8_kernel_without_openat2_is_refused_unless_the_walk_is_allowed(
    arena, number, monkeypatch
):
    arena.arm(TARGET)
    monkeypatch.setattr(openat2, "_syscall", _answer(number))
    error = refused("helper_missing", arena.delivery, "auto")
    assert "allow_walk_fallback" in error.hint
    allowed = ConfinedDelivery(
        [str(arena.base)], state_dir=str(arena.state), allow_walk_fallback=True
    )
    assert allowed.walk == "portable"
    allowed.place(JailRoot(str(arena.root)), jail_path(ENV), SECRET, arena.owner)
    refused("helper_missing", arena.delivery, "openat2")


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
def test_d8_forbidden_openat2_is_never_taken_for_a_missing_one(arena, number, monkeypatch):
    arena.arm()
    monkeypatch.setattr(openat2, "_syscall", _answer(number))
    for walk in ("auto", "openat2"):
        with pytest.raises(ColibriError) as caught:
            ConfinedDelivery(
                [str(arena.base)], state_dir=str(arena.state), walk=walk, allow_walk_fallback=True
            )
        assert caught.value.code == "helper_untrusted"


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_d8_openat2_forbidden_after_the_start_is_refused_never_a_plain_open(
    arena, number, monkeypatch
):
    attack = Attack(arena, "openat2")
    arena.arm()
    monkeypatch.setattr(openat2, "_syscall", _answer(number))
    for act in (attack.place, attack.inspect, attack.remove):
        refused("read_only", act)


SECCOMP = """
import ctypes, errno, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def op(code, jt, jf, k): return struct.pack("HBBI", code, jt, jf, k)
answer = 0x00050000 | int(sys.argv[4])
program = op(0x20, 0, 0, 0) + op(0x15, 0, 1, 437) + op(6, 0, 0, answer) + op(6, 0, 0, 0x7FFF0000)
buffer = ctypes.create_string_buffer(program)
class Fprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
fprog = Fprog(4, ctypes.addressof(buffer))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(fprog)):
    print("no seccomp"); sys.exit(0)
from vault_svc.adapters.delivery import ConfinedDelivery
from vault_svc.errors import ColibriError
try:
    fallback = sys.argv[3] == "1"
    made = ConfinedDelivery([sys.argv[1]], state_dir=sys.argv[2], allow_walk_fallback=fallback)
    print(made.walk)
except ColibriError as error:
    print(error.code)
"""


@pytest.mark.parametrize(
    ("number", "fallback", "answer"),
    [
        (errno.ENOSYS, "0", "helper_missing"),
        (errno.ENOSYS, "1", "portable"),
        (errno.EPERM, "1", "helper_untrusted"),
        (errno.EPERM, "0", "helper_untrusted"),
    ],
)
def test_d8_real_seccomp_filter_is_read_the_same_way(arena, number, fallback, answer):
    arena.arm()
    command = [sys.executable, "-c", SECCOMP, arena.base, arena.state, fallback, str(number)]
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    ran = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=30, check=True
    )
    if ran.stdout.strip() == "no seccomp":
        pytest.skip("this host does not let a process filter its own calls")
    assert ran.stdout.strip() == answer


# D10: the content.


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"A\0B\n", b"x" * (1 << 20), bytes(range(256))],
    ids=lambda c: str(len(c)),
)
def test_d10_empty_large_and_binary_content_arrive_as_they_are(attack, content):
    attack.arena.arm(TARGET)
    assert attack.place(content=content).size == len(content)
    assert attack.inspect(max_bytes=1 << 20).content == content
    assert attack.arena.good(attack.inspect(max_bytes=1 << 20), content)


def test_d10_file_above_the_limit_is_found_but_not_read(attack):
    attack.arena.arm(TARGET)
    attack.place(content=b"12345")
    assert attack.inspect(max_bytes=5).content == b"12345"
    found = attack.inspect(max_bytes=4)
    assert (found.kind, found.content, found.size) == ("file", None, 5)
