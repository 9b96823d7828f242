"""Group B of the catalogue: the tenant changes names while colibri works.

The attacker is shut into the jail and must beat a naive writer in the same test first. Volume
runs on a tmpfs over a proven root descriptor; `test_race_full_*` go through the whole adapter.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.attack.test_second_layer_child import child_writes
from tests.kit import arena as kit
from tests.kit import naive, race
from tests.kit.attackers import Attacker
from tests.kit.oracle import Guard, Watch
from vault_svc.adapters.delivery import ConfinedDelivery
from vault_svc.hazmat import confine, openat2
from vault_svc.hazmat.confine_walk import Root

pytestmark = [pytest.mark.attack, pytest.mark.race, pytest.mark.xdist_group("race")]
ENV = ("home", "app", ".env")
NAME = "/".join(ENV)
SWAPPED_DIRECTORY = {"symlink", "not-a-directory", "missing", "tampered"}
TEMPORARY = r"\.colibri-[0-9a-f]{24}\.tmp|\.env\..+"

# Attempts per row and walk at scale 1, most where one is quick; the last test adds them up.
ATTEMPTS = {
    "b1": 27_000,
    "b2": 20_000,
    "b3": 15_000,
    "b4": 4_500,
    "b5": 2_400,
    "b6": 1_200,
    "b7": 6_000,
    "b8": 4_000,
    "b9": 2_400,
    "b10": 900,
    "b11": 900,
    "b12": 900,
    "b13": 900,
    "b14": 900,
    "b16": 2_400,
    "b18": 6_000,
    "b19": 1_500,
    "full": 900,
    "child": 150,
}
# Rows whose every kind of exchange has as many.
KINDS = {"b5": 3, "b6": 2, "b9": 2}


@dataclass
class Field:
    """An arena with descriptors held open, so that resets reach it whatever names move."""

    arena: kit.Arena
    root: Root
    home: int
    app: int
    others: dict[str, int] = field(default_factory=dict)

    def content(self, number: int) -> bytes:
        return f"TOKEN=value-{number}\n".encode()

    def place(self, number: int) -> None:
        owner = self.arena.owner
        confine.place(self.root, ENV, self.content(number), owner, 0o600)

    def naively(self, writer):
        root, owner = str(self.arena.root), self.arena.owner
        return lambda number: writer(root, NAME, self.content(number), owner)

    def clear(self, directory: int, name: str) -> None:
        try:
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            os.rmdir(name, dir_fd=directory)

    def every_other_first(self, number: int) -> None:
        """Let half of the attempts be a first write and half a replacement."""
        if number % 2:
            self.clear(self.app, ".env")

    def exposed(self, number: int, *directories: int) -> str:
        """Name a file with this attempt's content that is not 0600 of the owner, and alone."""
        for directory in directories:
            status = _content_at(directory, ".env", self.content(number))
            if status is None:
                continue
            mode, links = stat.S_IMODE(status.st_mode), status.st_nlink
            if (mode, status.st_uid, links) != (0o600, self.arena.owner.uid, 1):
                return f"exposed: {mode:04o} uid {status.st_uid} links {links}"
        return ""

    def whereabouts(self, number: int, ok: bool, *directories: int) -> str:
        """Say what is wrong with where this attempt's content is, given what was reported."""
        found = self.exposed(number, *directories)
        there = [d for d in directories if _content_at(d, ".env", self.content(number))]
        if ok and not there:
            return "reported delivered, but it is not there"
        if not ok and there:
            return "refused, but the secret was left"
        return found


def _content_at(directory: int, name: str, content: bytes) -> os.stat_result | None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError:
        return None
    try:
        return os.fstat(fd) if os.read(fd, 256) == content else None
    finally:
        os.close(fd)


@pytest.fixture
def ground(request, walk) -> Iterator[Field]:
    """A field on a tmpfs (root) or on the disk, with the exchange's counterpart `lnk` in home."""
    with kit.safe_directory() as top:
        on_disk = getattr(request, "param", "") == "disk" or not kit.is_root()
        if on_disk:
            yield from _field(top, walk)
        else:
            with kit.mounted("tmpfs", "tmpfs", top, "mode=755,size=64m"):
                yield from _field(top, walk)


def _field(top: Path, walk: str) -> Iterator[Field]:
    arena = kit.Arena(top)
    (arena.home / "lnk").symlink_to(arena.dir)
    arena.file(arena.dir / ".env", 0o644, kit.HOST_USER, b"sentinel\n")
    root = kit.opened(arena, walk)
    flags = os.O_RDONLY | os.O_DIRECTORY
    made = Field(arena, root, os.open(arena.home, flags), os.open(arena.app, flags))
    try:
        yield made
        assert not arena.leftovers()
    finally:
        for fd in (root.fd, made.home, made.app, *made.others.values()):
            os.close(fd)


@pytest.fixture
def guard(ground) -> Iterator[Guard]:
    arena = ground.arena
    files = [arena.victim, arena.dir / "keep", arena.dir / ".env"]
    made = Guard([arena.outside, arena.dir], files, [arena.shadow])
    yield made
    made.close()


@pytest.fixture
def report(request, capfd, record_property):
    """Run a race and show its figures, also under xdist and without -s."""

    def run(raced: race.Race, attempts: int) -> None:
        with capfd.disabled():
            raced.run(request.node.name, attempts)
        record_property("raced_attempts", raced.outcomes.total())

    return run


def _exchange(*pairs: tuple[str, str, str], **options) -> dict:
    return {"mode": "exchange", "pairs": pairs, **options}


PARENT = ("home", "app", "lnk")
FIRST = (".", "home", "homelnk")


def _first(ground: Field) -> None:
    """Give the first component its counterpart: a link to a host directory that has `app`."""
    (ground.arena.root / "homelnk").symlink_to(ground.arena.outside)
    (ground.arena.outside / "app").mkdir()


@pytest.mark.parametrize(
    "writer", [naive.realpath, naive.no_follow, naive.lstat_each], ids=lambda w: w.__name__
)
def test_b1_parent_exchanged_with_symlink_never_escapes(ground, guard, report, writer):
    raced = race.Race(
        ground.arena,
        [_exchange(PARENT)],
        ground.place,
        ground.naively(writer),
        guard,
        SWAPPED_DIRECTORY,
        ground.every_other_first,
        lambda number, ok: ground.exposed(number, ground.app) if number > 0 else "",
        fast=True,
    )
    report(raced, ATTEMPTS["b1"] // 3)


def test_b2_first_component_exchanged_with_symlink_never_escapes(ground, report):
    _first(ground)
    arena = ground.arena
    guard = Guard([arena.outside, arena.outside / "app"], [arena.victim], [arena.shadow])
    raced = race.Race(
        arena,
        [_exchange(FIRST)],
        ground.place,
        ground.naively(naive.no_follow),
        guard,
        SWAPPED_DIRECTORY,
        ground.every_other_first,
        fast=True,
    )
    report(raced, ATTEMPTS["b2"])
    guard.close()


def test_b3_two_attackers_on_both_components_never_escape(ground, report):
    _first(ground)
    arena = ground.arena
    (arena.outside / "lnk").mkdir()
    places = [arena.outside, arena.outside / "app", arena.outside / "lnk", arena.dir]
    guard = Guard(places, [arena.victim], [arena.shadow])
    raced = race.Race(
        arena,
        [_exchange(PARENT), _exchange(FIRST)],
        ground.place,
        ground.naively(naive.no_follow),
        guard,
        SWAPPED_DIRECTORY,
        ground.every_other_first,
    )
    report(raced, ATTEMPTS["b3"])
    guard.close()


def test_b4_parent_exchanged_with_another_directory_is_never_misreported(ground, guard, report):
    other = ground.arena._directory("jails/t1/root/home/other", ground.arena.owner.uid, 0o755)
    ground.others["other"] = os.open(other, os.O_RDONLY)
    both = (ground.app, ground.others["other"])
    raced = race.Race(
        ground.arena,
        [_exchange(("home", "app", "other"))],
        ground.place,
        ground.naively(naive.plain),
        guard,
        {"tampered"},
        ground.every_other_first,
        lambda number, ok: ground.whereabouts(number, ok, *both),
        fast=True,
    )
    report(raced, ATTEMPTS["b4"])


@pytest.mark.parametrize("kind", ["file", "fifo", "dangling"])
def test_b5_parent_exchanged_with_another_kind_is_refused_or_delivered(ground, guard, report, kind):
    arena = ground.arena
    swap = arena.home / "swap"
    if kind == "file":
        arena.file(swap)
    elif kind == "fifo":
        os.mkfifo(swap)
    else:
        swap.symlink_to(arena.outside / "nowhere")
    raced = race.Race(
        arena,
        [_exchange(("home", "app", "swap"))],
        ground.place,
        ground.naively(naive.plain),
        guard,
        SWAPPED_DIRECTORY,
        ground.every_other_first,
        lambda number, ok: ground.whereabouts(number, ok, ground.app),
        fast=True,
    )
    report(raced, ATTEMPTS["b5"])


@pytest.mark.parametrize("how", ["away", "remake"])
def test_b6_parent_taken_away_and_back_is_refused_or_delivered(ground, guard, report, how):
    arena = ground.arena
    attack = {"mode": how, "directory": "home", "name": "app", "owner": arena.owner.uid}
    if how == "remake":
        attack["sleep"] = (0.0001, 0.0003)

    def lost(number: int, ok: bool) -> str:
        if how == "remake":  # the tenant deletes what it likes; only the naive writer shows fear
            return "" if ok or number > 0 else "the attack hit a writer half-way"
        return ground.whereabouts(number, ok, ground.app)

    raced = race.Race(
        arena,
        [attack],
        ground.place,
        ground.naively(naive.plain),
        guard,
        SWAPPED_DIRECTORY,
        ground.every_other_first if how == "away" else lambda _: None,
        lost,
    )
    report(raced, ATTEMPTS["b6"])


def _swap_at_name(ground: Field, make) -> object:
    """Return a reset that puts a regular file at `.env` and the attacker's object at `swap`."""

    def reset(number: int) -> None:
        for name in (".env", "swap"):
            ground.clear(ground.app, name)
        make()

    return reset


AT_NAME = ("home/app", ".env", "swap")


@pytest.mark.parametrize("writer", [naive.realpath, naive.open_original], ids=lambda w: w.__name__)
def test_b7_name_exchanged_with_symlink_never_touches_the_host_file(ground, guard, report, writer):
    def make() -> None:
        os.symlink(ground.arena.victim, "swap", dir_fd=ground.app)
        os.close(os.open(".env", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=ground.app))

    raced = race.Race(
        ground.arena,
        [_exchange(AT_NAME)],
        ground.place,
        ground.naively(writer),
        guard,
        {"tampered"},
        _swap_at_name(ground, make),
    )
    report(raced, ATTEMPTS["b7"] // 2)


def test_b7_reading_a_name_exchanged_with_symlink_never_returns_the_host_file(
    ground, guard, report
):
    def make() -> None:
        os.symlink(ground.arena.victim, "swap", dir_fd=ground.app)
        os.close(os.open(".env", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=ground.app))

    answers: list[bytes | None] = []

    def ours(number: int) -> None:
        answers.append(confine.inspect(ground.root, ENV, max_bytes=99).content)

    def theirs(number: int) -> None:
        answers.append(naive.read(str(ground.arena.root), NAME))

    raced = race.Race(
        ground.arena,
        [_exchange(AT_NAME)],
        ours,
        theirs,
        guard,
        {"tampered"},
        _swap_at_name(ground, make),
        lambda *_: "the host file was read" if answers[-1:] == [b"mine\n"] else "",
    )
    report(raced, ATTEMPTS["b7"] // 3)


@pytest.mark.root
def test_b8_name_exchanged_with_hard_link_never_gives_the_root_file_away(ground, guard, report):
    def make() -> None:
        os.link(ground.arena.shadow, "swap", dst_dir_fd=ground.app)
        os.close(os.open(".env", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=ground.app))

    raced = race.Race(
        ground.arena,
        [_exchange(AT_NAME)],
        ground.place,
        ground.naively(naive.no_follow),
        guard,
        {"tampered"},
        _swap_at_name(ground, make),
    )
    report(raced, ATTEMPTS["b8"])


@pytest.mark.root
@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_b9_name_exchanged_with_fifo_or_device_neither_hangs_nor_touches_it(
    ground, guard, report, kind
):
    node = ground.arena.root / "node"
    mode = stat.S_IFIFO if kind == "fifo" else stat.S_IFCHR
    os.mknod(node, mode | 0o644, os.makedev(1, 3))
    before = node.stat()
    reader = os.open(node, os.O_RDONLY | os.O_NONBLOCK)

    def make() -> None:
        os.link(node, "swap", dst_dir_fd=ground.app)
        os.close(os.open(".env", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=ground.app))

    def lost(number: int, ok: bool) -> str:
        after = node.stat()
        same = (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)
        os.chmod(node, stat.S_IMODE(before.st_mode))
        os.chown(node, before.st_uid, before.st_gid)
        return "" if same else "the node was given away"

    raced = race.Race(
        ground.arena,
        [_exchange(AT_NAME)],
        ground.place,
        ground.naively(naive.realpath),
        guard,
        {"tampered"},
        _swap_at_name(ground, make),
        lost,
    )
    report(raced, ATTEMPTS["b9"])
    os.close(reader)


def _hunt(action: str, target: str) -> dict:
    return {
        "mode": "hunt",
        "directory": "home/app",
        "pattern": TEMPORARY,
        "action": action,
        "target": target,
        "chance": 0.7,  # a hunter that always wins would leave nothing to succeed with
    }


@pytest.fixture(params=["nameless", "named"])
def staging(request, monkeypatch) -> str:
    """Both ways to make the new inode: O_TMPFILE, and the random name FreeBSD needs."""
    if request.param == "named":
        monkeypatch.setattr("vault_svc.hazmat.confine_stage._O_TMPFILE", 0)
    return str(request.param)


@pytest.mark.root
@pytest.mark.parametrize("ground", ["disk"], indirect=True)
@pytest.mark.parametrize(
    ("row", "action"),
    [
        ("b10", "symlink"),
        ("b11", "hardlink"),
        ("b12", "keep"),
        ("b13", "steal"),
        ("b13", "foreign"),
    ],
)
def test_b10_to_b13_hunter_of_temporary_names_gains_nothing(
    ground, guard, report, staging, row, action, monkeypatch
):
    arena = ground.arena
    target = {
        "symlink": str(arena.victim),
        "hardlink": "/etc/shadow",
        "keep": "kept",
        "steal": "stolen",
        "foreign": "foreign",
    }[action]

    def reset(number: int) -> None:
        for name in os.listdir(ground.app):
            ground.clear(ground.app, name)
        for name in (".env", "foreign"):
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=ground.app))

    links: list[int] = []
    found = confine._found
    monkeypatch.setattr(
        confine,
        "_found",
        lambda status, content: links.append(status.st_nlink) or found(status, content),
    )

    def lost(number: int, ok: bool) -> str:
        content, copies = ground.content(number), set()
        for name in os.listdir(ground.app):
            status = _content_at(ground.app, name, content)
            copies |= {status.st_ino} if status else set()
        if not ok:
            return "refused, but the secret was left" if copies else ""
        if _content_at(ground.app, ".env", content) is None:
            return "reported delivered, but it is not ours"
        # A link made after the last look is the tenant's own affair, like any copy it makes.
        alone = os.stat(".env", dir_fd=ground.app).st_nlink if number < 0 else links[-1]
        return "" if len(copies) == 1 and alone == 1 else "reported delivered, but not alone"

    raced = race.Race(
        arena,
        [_hunt(action, target)],
        ground.place,
        ground.naively(naive.mkstemp),
        guard,
        {"tampered"},
        reset,
        lost,
    )
    report(raced, ATTEMPTS[row] // (4 if row == "b13" else 2))
    reset(0)


@pytest.mark.root
def test_b14_mount_on_the_parent_in_the_hosts_namespace_is_never_delivered_into(
    ground, guard, report
):
    def lost(number: int, ok: bool) -> str:
        return ground.whereabouts(number, ok, ground.app)

    attack = {"mode": "mount", "directory": "home/app", "sleep": (0.0, 0.0005)}
    raced = race.Race(
        ground.arena,
        [attack],
        ground.place,
        ground.naively(naive.plain),
        guard,
        {"crosses-mount", "tampered"},
        ground.every_other_first,
        lost,
    )
    report(raced, ATTEMPTS["b14"])


@pytest.mark.parametrize("sleep", [(0.001, 0.001), (0, 0.005)], ids=["slow", "random"])
def test_b16_slow_or_random_attacker_never_escapes(ground, guard, report, sleep):
    raced = race.Race(
        ground.arena,
        [_exchange(PARENT, sleep=sleep)],
        ground.place,
        ground.naively(naive.no_follow),
        guard,
        SWAPPED_DIRECTORY,
        ground.every_other_first,
    )
    report(raced, ATTEMPTS["b16"] // 2)


def test_b17_rename_storm_elsewhere_causes_no_failure(ground):
    """Control: the same storm makes the kernel give up a path with `..`."""
    disturbed = ground.root.walk.name != "openat2"
    with Attacker(str(ground.arena.outside), "storm", directory="."), Watch(60):
        for number in range(500):
            ground.place(number)
        while not disturbed:
            disturbed = _gave_up(ground.root.fd, "/".join(["home/.."] * 40))


def _gave_up(directory: int, path: str) -> bool:
    how = openat2._OpenHow(os.O_PATH | os.O_CLOEXEC, 0, openat2.BENEATH)
    result = openat2._syscall(directory, path.encode(), how)
    if result >= 0:
        os.close(result)
    return result == -errno.EAGAIN


def test_b18_removal_under_exchange_unlinks_only_in_the_verified_parent(ground, report):
    arena = ground.arena
    guard = Guard([arena.outside, arena.dir], [arena.victim], [arena.shadow])

    def reset(number: int) -> None:
        os.close(os.open(".env", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=ground.app))
        name = f".colibri-{'0' * 24}.tmp"
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=ground.app))

    def lost(number: int, ok: bool) -> str:
        left = set(os.listdir(ground.app))
        return f"reported removed, but left {left}" if ok and number > 0 and left else ""

    def ours(number: int) -> None:
        # A parent that is gone for the moment is "missing", which is no removal.
        if confine.remove(ground.root, ENV) == "missing":
            raise FileNotFoundError

    raced = race.Race(
        ground.arena,
        [_exchange(PARENT)],
        ours,
        lambda _: naive.remove(str(ground.arena.root), NAME),
        guard,
        SWAPPED_DIRECTORY,
        reset,
        lost,
        fast=True,
    )
    report(raced, ATTEMPTS["b18"])
    guard.close()
    for name in os.listdir(ground.app):
        ground.clear(ground.app, name)


@pytest.mark.root
@pytest.mark.parametrize("swap", ["symlink", "foreign"])
def test_b19_new_parents_swapped_while_new_give_nothing_away(ground, guard, report, swap):
    """The foreign directory is root's, closed and not empty: a prize if it were given away."""
    arena = ground.arena
    foreign = arena._directory("jails/t1/root/prize", 0, 0o700)
    arena.file(foreign / "key", 0o600)
    held = ground.others["prize"] = os.open(foreign, os.O_RDONLY)
    path = ("home", "new", ".env")

    def reset(number: int) -> None:
        _clear_new(ground, held)
        if swap == "symlink":
            os.symlink(arena.dir, "swap", dir_fd=ground.home)
            return
        here = os.readlink(f"/proc/self/fd/{held}")
        if os.path.basename(here) != "swap":
            os.rename(here, arena.home / "swap")

    def lost(number: int, ok: bool) -> str:
        status = os.fstat(held)
        os.fchown(held, 0, 0)
        os.fchmod(held, 0o700)
        bad = status.st_uid != 0 or stat.S_IMODE(status.st_mode) != 0o700
        return "the foreign directory was given away" if bad else ""

    def ours(number: int) -> None:
        content, owner = ground.content(number), arena.owner
        confine.place(ground.root, path, content, owner, 0o600, create_parents=True)

    def theirs(number: int) -> None:
        naive.make_parents(str(arena.root), "/".join(path), ground.content(number), arena.owner)

    raced = race.Race(
        arena,
        [_exchange(("home", "new", "swap"))],
        ours,
        theirs,
        guard,
        SWAPPED_DIRECTORY | {"parent-policy", "existing-not-regular"},
        reset,
        lost,
    )
    report(raced, ATTEMPTS["b19"] // 2)


def _clear_new(ground: Field, kept: int) -> None:
    """Remove `new` and `swap`, whatever they are, but for the directory kept."""
    identity = os.fstat(kept).st_ino
    for _ in range(20_000):
        for name in ("new", "swap"):
            with contextlib.suppress(OSError):  # it moved: look again
                _clear_one(ground.home, name, identity)
        names = {"new", "swap"} & set(os.listdir(ground.home))
        if len(names) < 2 and all(_inode(ground.home, name) == identity for name in names):
            return
    raise AssertionError("the field could not be reset")


def _inode(directory: int, name: str) -> int:
    return os.stat(name, dir_fd=directory, follow_symlinks=False).st_ino


def _clear_one(home: int, name: str, identity: int) -> None:
    status = os.stat(name, dir_fd=home, follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        os.unlink(name, dir_fd=home)
    elif status.st_ino != identity:
        inside = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=home)
        try:
            if os.fstat(inside).st_ino != identity:
                for each in os.listdir(inside):
                    os.unlink(each, dir_fd=inside)
        finally:
            os.close(inside)
        os.rmdir(name, dir_fd=home)


PROVISIONER = """
import os, sys
from vault_svc.domain.receipt import Owner
from vault_svc.hazmat import confine, confine_walk
walk = confine_walk.choose(sys.argv[2], allow_fallback=True)
root = confine_walk.root_from(int(sys.argv[1]), walk)
uid, gid, rounds = (int(each) for each in sys.argv[3:6])
print("ready", flush=True)
done = 0
for number in range(rounds):
    try:
        confine.place(root, ("home", "app", ".env"), b"B" * 4000, Owner(uid, gid), 0o600)
        done += 1
    except confine.Refused as refused:
        assert str(refused.reason) == "tampered", refused
print(done)
"""


def test_b20_two_provisioners_at_once_leave_one_whole_file(ground, tmp_path):
    owner, rounds = ground.arena.owner, 600
    os.set_inheritable(ground.root.fd, True)
    arguments = [str(ground.root.fd), ground.root.walk.name, str(owner.uid), str(owner.gid)]
    other = subprocess.Popen(
        [sys.executable, "-c", PROVISIONER, *arguments, str(rounds)],
        pass_fds=[ground.root.fd],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    done = 0
    for _ in range(rounds):
        try:
            confine.place(ground.root, ENV, b"A" * 4000, owner, 0o600)
            done += 1
        except confine.Refused as refused:
            assert str(refused.reason) == "tampered"
        found = confine.inspect(ground.root, ENV, max_bytes=9999)
        assert found.content in {b"A" * 4000, b"B" * 4000, None}
        assert found.kind in {"file", "missing"}
    out, _ = other.communicate(timeout=60)
    assert done > rounds // 2
    assert int(out) > rounds // 2


@pytest.mark.parametrize("ground", ["disk"], indirect=True)
def test_race_full_adapter_walks_from_slash_and_never_escapes(ground, guard, report, walk):
    """B1 through the whole adapter, every attempt proving the base and the root again, on disk."""
    attack = kit.Attack(ground.arena, walk)

    def ours(number: int) -> None:
        owner = ground.arena.owner
        attack.delivery.place(attack.jail, ENV, ground.content(number), owner)

    raced = race.Race(
        ground.arena,
        [_exchange(PARENT)],
        ours,
        ground.naively(naive.no_follow),
        guard,
        {"path_not_plain", "tampered", "path_missing"},
        fast=True,
    )
    report(raced, ATTEMPTS["full"])


@pytest.mark.parametrize("walk", ["portable"], indirect=True)
@pytest.mark.parametrize("ground", ["disk"], indirect=True)
def test_race_full_in_a_child_that_holds_the_root_alone_never_escapes(
    ground, guard, report, monkeypatch
):
    """The same where a child writes, as on FreeBSD; the kernel's part is a stand-in's."""
    arena = ground.arena
    child_writes(monkeypatch, arena.state)
    layered = ConfinedDelivery(
        [str(arena.base)], state_dir=str(arena.state), walk="portable", second_layer="require"
    )
    jail = kit.Attack(arena, "portable").jail
    raced = race.Race(
        arena,
        [_exchange(PARENT)],
        lambda number: layered.place(jail, ENV, ground.content(number), arena.owner),
        ground.naively(naive.no_follow),
        guard,
        {"path_not_plain", "tampered", "path_missing"},
        fast=True,
    )
    report(raced, ATTEMPTS["child"])


def test_planned_attempts_are_enough_for_ci():
    walks = 2
    assert walks * sum(KINDS.get(row, 1) * most for row, most in ATTEMPTS.items()) >= 200_000
