"""The hostile tenant in real containers, where it is root: what the engine's own walls let it do.

It is more than a tenant should ever be: root of the container with every capability its user
namespace gives. Each attack has a naive writer that loses to it, or says why there is none.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.kit import arena, engines, naive, oracle, race
from tests.kit.engines import OWNER, Place
from tests.kit.oracle import Guard
from tests.kit.places import private_directory
from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError
from vault_svc.hazmat import confine
from vault_svc.hazmat.confine_root import open_root, state_at
from vault_svc.hazmat.confine_walk import OPENAT2, PORTABLE
from vault_svc.ports.delivery import JailRoot

pytestmark = [pytest.mark.attack, pytest.mark.root, pytest.mark.xdist_group("containers")]

CONTAINERS = sorted({"podman", "nspawn"} & engines.ENGINES.keys())
ENV = ("home", "own", ".env")
NAME = "/".join(ENV)
SECRET = b"TOKEN=s3cr3t-of-the-tenant\n"
# Two walks, two engines: make attack (scale 10) comes to more than a million.
RACED = 30_000 if race.SCALE >= 10 else 8_000


@dataclass
class Siege:
    """A running jail `acme` with its neighbour `acme1`, and decoys of the host beside them."""

    place: Place
    outside: Path
    pid: int
    path: str
    root: JailRoot
    before: tuple[object, object] | None = None

    def look(self) -> tuple[object, object]:
        """Return what must stay as it is: the host's decoys, and the neighbour's whole tree."""
        neighbour = self.place.engine.root_of("acme1")
        return oracle.picture(self.outside), oracle.picture(neighbour)

    def inside(self, script: str) -> str:
        """Run a script as the container's root, with all capabilities it can have there."""
        line = ["nsenter", f"--target={self.pid}", "--all", "--root"]
        line += [f"--wd=/proc/{self.pid}/root", "--setuid=0", "--setgid=0", "--", "/bin/sh", "-c"]
        ran = subprocess.run(
            [*line, script], capture_output=True, text=True, timeout=30, env={}, check=False
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def deliver(self, walk: str = "auto", secret: bytes = SECRET) -> str:
        """Deliver as the services would; return the refusal's code, or what the jail's root sees.

        walk as in ConfinedDelivery.
        """
        try:
            self.place.delivery(walk).place(self.root, ENV, secret, OWNER)
        except ColibriError as error:
            return error.code
        return "delivered" if self.inside(f"cat /{NAME}") == secret.decode() else "unseen"

    def naively(self, writer=naive.plain) -> None:
        writer(self.path, NAME, SECRET, OWNER)

    def host_file(self, *parts: str) -> Path:
        return Path(self.path, *(parts or ENV))


@pytest.fixture(scope="module", params=CONTAINERS)
def place(request) -> Iterator[Place]:
    with (
        private_directory() as top,
        arena.mounted("tmpfs", "tmpfs", top, "mode=700,size=256m"),
        engines.place(request.param, top) as made,
    ):
        yield made


@pytest.fixture
def siege(place) -> Iterator[Siege]:
    for name in ("acme", "acme1"):
        place.engine.create(name, OWNER)
        place.engine.start(name)
    outside = place.top / "outside"
    (outside / "dir").mkdir(parents=True)
    for name in ("victim", "dir/keep", "dir/.env"):
        (outside / name).write_text("the host's\n")
    path, pid = place.engine.root_of("acme"), place.engine.pid_of("acme")
    made = Siege(place, outside, pid, path, place.root("acme"))
    made.inside(f"mkdir -p /home/own && chown {OWNER.uid}:{OWNER.gid} /home/own")
    made.before = made.look()
    yield made
    assert made.look() == made.before
    for name in ("acme", "acme1"):
        with contextlib.suppress(ColibriError):
            place.engine.destroy(name)
    subprocess.run(["rm", "-rf", outside], check=True)


@pytest.fixture
def walk(request) -> str:
    """openat2, or what a test names: the static suite has each attack over both walks."""
    return getattr(request, "param", "openat2")


both = pytest.mark.parametrize("walk", ["openat2", "portable"], indirect=True)


def unharmed(siege: Siege) -> bool:
    kept = ("victim", "dir/keep", "dir/.env")
    return all((siege.outside / name).read_text() == "the host's\n" for name in kept)


def mend(siege: Siege) -> None:
    """Undo what a naive writer did to the host, and say that it did something."""
    assert not unharmed(siege)
    for name in ("victim", "dir/keep", "dir/.env"):
        path = siege.outside / name
        path.write_text("the host's\n")
        os.chown(path, 0, 0)
    siege.before = siege.look()


MOUNTS = {
    "tmpfs": "mount -t tmpfs tmpfs /home/own",
    "bind": "mkdir -p /srv/fake && mount -o bind /srv/fake /home/own",
    "tmpfs-above": "mount -t tmpfs tmpfs /home && mkdir /home/own",
    "proc": "mount -t proc proc /home/own",
}


@pytest.mark.parametrize("mount", MOUNTS.values(), ids=MOUNTS.keys())
def test_mount_over_the_directory_is_shadowed_and_nothing_is_written(siege, walk, mount):
    siege.inside(mount)
    assert siege.deliver(walk) == "shadowed"
    assert not siege.host_file().exists()
    siege.naively()  # the control: it says nothing, and the jail does not have it
    assert "s3cr3t" not in siege.inside(f"cat /{NAME} 2>/dev/null; :")
    assert siege.host_file().read_bytes() == SECRET


def test_mount_made_after_the_delivery_is_reported_when_it_is_looked_at_again(siege, walk):
    assert siege.deliver(walk) == "delivered"
    siege.inside("mount -t tmpfs tmpfs /home/own")
    with pytest.raises(ColibriError) as caught:
        siege.place.delivery(walk).inspect(siege.root, ENV, max_bytes=99)
    assert caught.value.code == "shadowed"


def test_mount_over_the_directory_does_not_stop_a_removal(siege, walk):
    assert siege.deliver(walk) == "delivered"
    siege.inside("mount -t tmpfs tmpfs /home/own")
    assert siege.place.delivery(walk).remove(siege.root, ENV) == "file"
    assert not siege.host_file().exists()


SECRETS = ("home", "own", "secrets")


@pytest.mark.parametrize("over", ["/home/own", "/home/own/secrets"])
def test_mount_over_a_set_of_files_is_shadowed_and_stops_no_removal(siege, walk, over):
    delivery = siege.place.delivery(walk)
    delivery.place_files(siege.root, SECRETS, {"A": SECRET}, OWNER)
    siege.inside(f"mount -t tmpfs tmpfs {over}")
    for act in (
        lambda: delivery.inspect_files(siege.root, SECRETS, ["A"], max_bytes=99),
        lambda: delivery.place_files(siege.root, SECRETS, {"A": b"new"}, OWNER),
    ):
        with pytest.raises(ColibriError) as caught:
            act()
        assert caught.value.code == "shadowed"
    assert siege.host_file(*SECRETS, "A").read_bytes() == SECRET
    assert delivery.remove_files(siege.root, SECRETS, ["A"]) == "files"
    assert not siege.host_file(*SECRETS, "A").exists()


def test_file_mounted_over_the_target_is_displaced_and_the_delivery_is_seen(siege, walk):
    siege.inside(f"touch /{NAME} /srv-fake && mount -o bind /srv-fake /{NAME}")
    assert siege.deliver(walk) == "delivered"


def test_mount_in_a_nested_namespace_of_the_tenants_changes_nothing(siege, walk):
    """A container within the container hides its own view only; the jail's first process sees."""
    nested = "mount -t tmpfs tmpfs /home/own && echo up && sleep 60"
    unshare = ["unshare", "--mount", f"--root={siege.path}", "/bin/sh", "-c", nested]
    with subprocess.Popen(unshare, stdout=subprocess.PIPE, text=True) as inner:
        try:
            assert inner.stdout.readline() == "up\n"
            assert siege.deliver(walk) == "delivered"
        finally:
            inner.kill()


@both
@pytest.mark.parametrize(
    "link", ["{outside}/dir", "/proc/{pid}/root{outside}/dir", "/proc/self/cwd{outside}/dir"]
)
def test_link_in_place_of_the_directory_is_refused(siege, walk, link):
    target = link.format(outside=siege.outside, pid=os.getpid())
    siege.inside(f"rmdir /home/own && ln -s '{target}' /home/own")
    assert siege.deliver(walk) == "path_not_plain"
    assert unharmed(siege)
    with contextlib.chdir("/"):
        siege.naively()
    mend(siege)


def test_link_in_place_of_the_file_is_displaced_and_its_target_untouched(siege, walk):
    siege.inside(f"ln -s '{siege.outside}/victim' /{NAME}")
    siege.naively()
    mend(siege)
    assert siege.deliver(walk) == "delivered"
    assert unharmed(siege)


def test_fifo_in_place_of_the_file_is_displaced_and_nobody_waits(siege, walk):
    """No naive control: it would hang, as test_static shows."""
    siege.inside(f"mkfifo /{NAME}")
    assert siege.deliver(walk) == "delivered"


def test_device_in_place_of_the_file_is_displaced_and_not_written_to(siege, walk):
    if "mknod" not in siege.inside(f"mknod /{NAME} c 1 3 2>/dev/null && echo mknod; :"):
        siege.host_file().unlink(missing_ok=True)  # a user namespace has no devices to make
        os.mknod(siege.host_file(), 0o600 | 0o020000, os.makedev(1, 3))
    with contextlib.suppress(PermissionError):  # where the machines' mount has nodev
        siege.naively()
    assert siege.host_file().is_char_device()  # the control: no file of the tenant's is there
    assert siege.deliver(walk) == "delivered"
    assert siege.host_file().is_file()


def test_full_file_system_is_no_space_and_the_old_secret_stays(siege, walk):
    assert siege.deliver(walk) == "delivered"
    filler = siege.place.base / "filler"
    try:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(1))
        large = b"TOKEN=" + b"x" * 100_000 + b"\n"
        assert siege.deliver(walk, large) == "no_space"
        assert siege.host_file().read_bytes() == SECRET
        with contextlib.suppress(OSError):
            siege.host_file().write_bytes(large)
        assert siege.host_file().read_bytes() != SECRET  # the control: the old one is gone
    finally:
        filler.unlink()
    assert os.listdir(siege.host_file().parent) == [".env"]


def test_default_access_list_of_the_directory_gives_nobody_the_file(siege, walk):
    entry = "u:4242:rwx"
    set_ = ["setfacl", "-d", "-m", entry, siege.host_file().parent]
    if subprocess.run(set_, check=False, capture_output=True).returncode:
        pytest.fail("setfacl: the file system takes no access lists")
    siege.naively()
    shown = subprocess.run(["getfacl", "-cn", siege.host_file()], capture_output=True, check=True)
    assert b"user:4242" in shown.stdout  # the control: it came with the file
    assert siege.deliver(walk) == "delivered"
    shown = subprocess.run(["getfacl", "-cn", siege.host_file()], capture_output=True, check=True)
    assert b"4242" not in shown.stdout


def test_pid_of_another_jail_is_refused_and_nothing_is_written(siege, walk):
    """As after a number was used again: whose process it is, its root says."""
    other = siege.place.engine.pid_of("acme1")
    siege.root = JailRoot(siege.path, pid=other, shifts=siege.root.shifts)
    assert siege.deliver(walk) == "jail_root_mismatch"
    assert not siege.host_file().exists()
    siege.root = JailRoot(siege.path, pid=os.getpid(), shifts=siege.root.shifts)
    assert siege.deliver(walk) == "jail_root_mismatch"


def test_pid_that_is_nobodys_is_not_running(siege, walk):
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    siege.root = JailRoot(siege.path, pid=gone.pid, shifts=siege.root.shifts)
    assert siege.deliver(walk) == "jail_not_running"
    assert not siege.host_file().exists()


def test_jail_that_is_destroyed_before_the_write_takes_nothing(siege, walk):
    siege.place.engine.destroy("acme")
    code = siege.deliver(walk)
    assert code in {"path_missing", "jail_not_running", "jail_root_mismatch"}


def test_jail_made_anew_under_its_name_is_not_the_one_that_was_proven(siege, walk):
    siege.place.engine.destroy("acme")
    siege.place.engine.create("acme", OWNER)
    siege.place.engine.start("acme")
    code = siege.deliver(walk)
    assert code in {"path_missing", "jail_not_running", "jail_root_mismatch"}
    assert not Path(siege.place.engine.root_of("acme"), *ENV).exists()


def test_name_that_begins_another_reaches_only_its_own_jail(siege, walk):
    assert siege.deliver(walk) == "delivered"  # acme1 is compared before and after by the fixture
    siege.place.engine.destroy("acme")
    for call in (siege.place.engine.root_of, siege.place.engine.pid_of):
        with pytest.raises(ColibriError) as caught:
            call("acme")
        assert caught.value.code == "jail_not_found"


def test_secret_is_the_tenants_alone_inside_and_its_neighbour_has_none(siege, walk):
    assert siege.deliver(walk) == "delivered"
    shown = siege.inside(f"stat -c '%u:%g %a %h' /{NAME}").strip()
    assert shown == f"{OWNER.uid}:{OWNER.gid} 600 1"
    other = siege.place.engine.run("acme1", ["/bin/cat", f"/{NAME}"], OWNER)
    assert other.status != 0


@both
@pytest.mark.timeout(1800)
@pytest.mark.race
def test_racing_swapper_in_the_container_never_escapes(
    siege, walk, capfd, record_property, request
):
    outside, home = siege.outside / "dir", os.path.dirname(os.path.dirname(siege.host_file()))
    siege.inside(f"ln -s '{outside}' /home/lnk; echo kept > /etc/kept")
    opened = open_root(
        siege.path,
        bases=[str(siege.place.base)],
        forbidden=[state_at(str(siege.place.top / "state"))],
        ino=None,
        walk=OPENAT2 if walk == "openat2" else PORTABLE,
    )
    own = os.open(os.path.join(home, "own"), os.O_RDONLY | os.O_DIRECTORY)
    status = os.fstat(own)
    owner = Owner(status.st_uid, status.st_gid)  # OWNER as the host counts
    files = [siege.outside / "victim", outside / "keep", outside / ".env"]
    guard = Guard([siege.outside, outside], files, [Path(siege.path, "etc/kept")])
    raced = race.Race(
        SimpleNamespace(root=siege.path),
        [{"mode": "exchange", "pid": siege.pid, "pairs": [["home", "own", "lnk"]]}],
        lambda number: confine.place(opened, ENV, content(number), owner, 0o600),
        lambda number: naive.no_follow(siege.path, NAME, content(number), owner),
        guard,
        {"symlink", "not-a-directory", "missing", "tampered"},
        lost=lambda _number, _ok: torn(own),
        fast=True,
    )
    try:
        with capfd.disabled():
            raced.run(request.node.name, RACED)
    finally:
        guard.close()
        os.close(opened.fd)
        os.close(own)
    record_property("raced_attempts", raced.outcomes.total())
    assert unharmed(siege)
    assert siege.look()[1] == siege.before[1]  # the neighbour's tree, byte for byte
    siege.before = siege.look()  # what the control won on the host, the guard put back


def content(number: int) -> bytes:
    return b"TOKEN=" + f"{number:+09d}".encode() * 8 + b"\n"


WHOLE = re.compile(rb"TOKEN=([+-]\d{8})\1{7}\n")


def torn(own: int) -> str:
    """Say what is wrong with the file there: half of one, or of two."""
    try:
        fd = os.open(".env", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=own)
    except OSError:
        return ""
    try:
        return "" if WHOLE.fullmatch(os.read(fd, 999)) else "a torn file"
    finally:
        os.close(fd)
