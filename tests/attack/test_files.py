"""A directory of secrets in a hostile jail: what stands in its place, or at a name.

The static rows run over both walks with the arena's oracle; one race swaps the directory itself.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attack.test_races import PARENT, Field, _exchange, ground, guard, report
from tests.kit import naive, oracle, race
from tests.kit.arena import Arena, Attack
from tests.kit.oracle import Guard
from vault_svc.domain.paths import jail_path
from vault_svc.domain.receipt import Found, Placed
from vault_svc.errors import ColibriError
from vault_svc.hazmat import confine_files

__all__ = ["ground", "guard", "report"]

pytestmark = pytest.mark.attack
WHERE = "home/app/secrets"
SET = {"API_KEY": b"s3cr3t-of-the-tenant", "TLS_KEY": b"-----\nmany\nlines\0\xff"}
NAMES = [WHERE, *(f"{WHERE}/{name}" for name in SET)]


class FilesAttack(Attack):
    """The same attack's deliveries, of a set."""

    @property
    def directory(self) -> Path:
        return self.arena.root / WHERE

    def put(self, contents=SET, stale=(), path: str = WHERE) -> Placed:
        with oracle.bounded():
            return self.delivery.place_files(
                self.jail, jail_path("/" + path), contents, self.arena.owner, stale=stale
            )

    def see(self, names=tuple(SET), max_bytes: int = 1 << 16) -> Found:
        with oracle.bounded():
            path = jail_path("/" + WHERE)
            return self.delivery.inspect_files(self.jail, path, names, max_bytes=max_bytes)

    def take(self, names=tuple(SET)) -> str:
        with oracle.bounded():
            return self.delivery.remove_files(self.jail, jail_path("/" + WHERE), names)

    def whole(self, contents=SET, owned: int | None = None) -> bool:
        """Say whether exactly contents stand there, each as it has to be."""
        found = self.see(contents)
        assert found.files is not None
        drifted = [
            name
            for name, content in contents.items()
            if found.files[name].drift_from(content, 0o400, self.arena.owner)
        ]
        return not drifted and found.uid == (self.arena.owner.uid if owned is None else owned)


@pytest.fixture
def files(arena: Arena, walk: str) -> FilesAttack:
    return FilesAttack(arena, walk)


def refused(code: str, act: Callable[[], object]) -> ColibriError:
    with pytest.raises(ColibriError) as caught:
        act()
    assert caught.value.code == code, caught.value.line()
    assert "s3cr3t" not in caught.value.line()
    return caught.value


def identities(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        each.name: (each.stat().st_ino, each.stat().st_mtime_ns, each.read_bytes())
        for each in directory.iterdir()
    }


def test_the_set_is_delivered_kept_changed_and_taken_away(files):
    files.arena.arm(*NAMES)
    assert files.put().displaced == "missing"
    assert files.whole()
    assert stat.S_IMODE(files.directory.stat().st_mode) == 0o700
    before = identities(files.directory)
    assert files.put().displaced == "directory"
    assert identities(files.directory) == before
    other = {"API_KEY": SET["API_KEY"], "NEW": b""}
    files.put(other, stale=SET)
    assert files.whole(other)
    assert identities(files.directory).keys() == other.keys()
    assert identities(files.directory)["API_KEY"] == before["API_KEY"]
    assert files.take(other) == "files"
    assert not files.directory.exists()
    assert (files.take(other), files.see(other).kind) == ("missing", "missing")


def _absolute(arena: Arena, path: Path) -> str:
    path.symlink_to(arena.dir)
    return "symlink"


def _dangling(arena: Arena, path: Path) -> str:
    path.symlink_to(arena.outside / "new")
    return "symlink"


def _inside(arena: Arena, path: Path) -> str:
    path.symlink_to("../../etc")
    return "symlink"


def _fifo(arena: Arena, path: Path) -> str:
    os.mkfifo(path)
    return "fifo"


def _socket(arena: Arena, path: Path) -> str:
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as each:
        each.bind(path.name)
    return "socket"


def _file(arena: Arena, path: Path) -> str:
    arena.file(path, 0o666)
    return "file"


def _hard_link(arena: Arena, path: Path) -> str:
    os.link(arena.shadow, path)
    return "file"


PLANTED = [_absolute, _dangling, _inside, _fifo, _socket, _file, _hard_link]
LINKED = ("etc/shadow",)  # a hard link more or less is a change of its inode


@pytest.mark.parametrize("plant", PLANTED)
def test_what_stands_in_the_directorys_place_is_displaced_and_its_target_untouched(files, plant):
    kind = plant(files.arena, files.directory)
    files.arena.arm(*NAMES, *LINKED)
    assert files.see().kind == kind
    assert files.see().content is None
    assert files.put().displaced == kind
    assert files.whole()


@pytest.mark.parametrize("plant", PLANTED)
def test_what_stands_in_the_directorys_place_is_removed_and_its_target_untouched(files, plant):
    kind = plant(files.arena, files.directory)
    files.arena.arm(*NAMES, *LINKED)
    assert files.take() == kind
    assert not files.directory.is_symlink()
    assert not files.directory.exists()


@pytest.mark.parametrize("plant", PLANTED)
def test_what_stands_at_a_secrets_name_is_displaced_and_its_target_untouched(files, plant):
    files.put()
    path = files.directory / "API_KEY"
    path.unlink()
    kind = plant(files.arena, path)
    files.arena.arm(*NAMES, *LINKED)
    found = files.see()
    assert found.files is not None
    assert found.files["API_KEY"].kind == kind
    kept = (files.directory / "TLS_KEY").stat().st_ino
    assert files.put().displaced == (kind if kind != "file" else "directory")
    assert files.whole()
    assert (files.directory / "TLS_KEY").stat().st_ino == kept


@pytest.mark.parametrize("plant", PLANTED)
def test_what_stands_at_a_secrets_name_is_removed_and_its_target_untouched(files, plant):
    files.put()
    (files.directory / "API_KEY").unlink()
    plant(files.arena, files.directory / "API_KEY")
    files.arena.arm(*NAMES, *LINKED)
    assert files.take() == "files"
    assert not files.directory.exists()


@pytest.mark.parametrize("stale", [False, True])
def test_a_directory_at_a_name_is_refused_before_anything_is_changed(files, stale):
    files.put({"TLS_KEY": b"old"})
    (files.directory / "API_KEY").mkdir()
    (files.directory / "API_KEY" / "mine").touch()
    files.arena.arm()
    wanted = {"TLS_KEY": b"new"} | ({} if stale else {"API_KEY": b"x"})
    refused("target_not_regular", lambda: files.put(wanted, stale=["API_KEY"]))
    assert (files.directory / "TLS_KEY").read_bytes() == b"old"


def test_a_directory_at_a_name_keeps_no_other_file_from_removal(files):
    files.put()
    (files.directory / "API_KEY").unlink()
    (files.directory / "API_KEY").mkdir()
    files.arena.arm(*NAMES)
    refused("target_not_regular", files.take)
    assert os.listdir(files.directory) == ["API_KEY"]


@pytest.mark.root
@pytest.mark.parametrize(("uid", "mode"), [(1001, 0o700), (1000, 0o770), (1000, 0o702)])
def test_a_directory_another_user_of_the_jail_can_change_is_refused(files, uid, mode):
    files.directory.mkdir()
    files.directory.chmod(mode)
    os.chown(files.directory, uid, uid)
    files.arena.arm()
    refused("unsafe_parent", files.put)
    assert list(files.directory.iterdir()) == []


@pytest.mark.root
def test_roots_own_closed_directory_gets_no_file_that_its_owner_cannot_reach(files):
    """As a tenant leaves it that moved ours away while it was new: it can take it away itself."""
    files.directory.mkdir(mode=0o700)
    files.arena.arm()
    assert "the owner cannot enter it" in refused("unsafe_parent", files.put).message
    files.directory.chmod(0o711)
    files.arena.arm(*NAMES)
    files.put()
    assert files.whole(owned=0)


@pytest.mark.parametrize("target", ["{dir}", "../../outside", "app"])
def test_a_parent_that_is_a_symlink_is_refused_and_named(files, target):
    (files.arena.home / "lnk").symlink_to(target.format(dir=files.arena.dir))
    files.arena.arm()
    path = "home/lnk/secrets"
    assert "/home/lnk" in refused("path_not_plain", lambda: files.put(path=path)).message
    with pytest.raises(ColibriError) as caught:
        files.delivery.remove_files(files.jail, jail_path("/" + path), list(SET))
    assert caught.value.code == "path_not_plain"


@pytest.mark.parametrize("name", ["../x", "..", "a/b", "", "x\0", "\x1b", ".colibri-x", "ü"])
def test_a_name_that_is_no_single_component_is_refused_before_any_call(files, name):
    files.arena.arm()
    refused("bad_path", lambda: files.put({name: b"x"}))
    refused("bad_path", lambda: files.put({}, stale=[name]))
    refused("bad_path", lambda: files.see([name]))
    refused("bad_path", lambda: files.take([name]))


def test_the_tenants_own_files_in_the_directory_stay(files):
    files.put()
    files.arena.file(files.directory / "notes", content=b"mine\n")
    files.arena.file(files.directory / "README", content=b"mine\n")
    files.arena.arm(*NAMES)
    assert files.take() == "files"
    assert sorted(os.listdir(files.directory)) == ["README", "notes"]
    assert files.see().is_gone


def test_a_swap_between_the_files_is_tampered_and_the_next_run_repairs(files, monkeypatch):
    """The directory is moved away and another put there while the set is half written."""
    real, moved = confine_files._read_back, []

    def swapped(*args):
        if len(moved) < 3:
            moved.append(files.directory.rename(files.arena.app / f"moved{len(moved)}"))
            files.directory.mkdir()
            os.chown(files.directory, files.arena.owner.uid, files.arena.owner.gid)
        return real(*args)

    monkeypatch.setattr(confine_files, "_read_back", swapped)
    refused("tampered", files.put)
    assert [list(each.iterdir()) for each in moved] == [[], [], []], "a secret was left behind"
    files.arena.arm(*NAMES)
    files.put()
    assert files.whole()


@pytest.fixture
def clean(ground: Field) -> Callable[[int], None]:
    """Put directory and link back, whatever name each has."""

    def reset(number: int) -> None:
        for name in ("app", "lnk"):
            with contextlib.suppress(OSError):
                status = os.stat(name, dir_fd=ground.home, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode) and status.st_ino != os.fstat(ground.app).st_ino:
                    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=ground.home)
                    ground.clear(fd, ".env")
                    os.close(fd)
                    os.rmdir(name, dir_fd=ground.home)
        for name in ("app", "lnk"):
            with contextlib.suppress(FileExistsError):
                os.symlink(ground.arena.dir, name, dir_fd=ground.home)
        ground.every_other_first(number)

    return reset


@pytest.mark.race
@pytest.mark.xdist_group("race")
def test_b1_the_directory_exchanged_with_a_symlink_never_escapes(ground, guard, report, clean):
    arena = ground.arena

    def ours(number: int) -> None:
        wanted = confine_files.Set({".env": ground.content(number)}, arena.owner, 0o600, ())
        confine_files.place(ground.root, PARENT[:2], wanted)

    raced = race.Race(
        arena,
        [_exchange(PARENT)],
        ours,
        ground.naively(naive.no_follow),
        guard,
        {"symlink", "not-a-directory", "missing", "tampered"},
        clean,
        lambda number, ok: ground.exposed(number, ground.app) if number > 0 else "",
    )
    report(raced, 2_000)


@pytest.mark.race
@pytest.mark.xdist_group("race")
def test_b18_removal_under_exchange_takes_nothing_outside(ground, report, clean):
    arena = ground.arena
    held = Guard([arena.outside, arena.dir], [arena.victim], [arena.shadow])

    def reset(number: int) -> None:
        clean(number)
        while os.fstat(ground.app).st_nlink == 0:  # the last removal took the directory too
            with contextlib.suppress(OSError):
                os.unlink("app", dir_fd=ground.home)
                os.mkdir("app", 0o755, dir_fd=ground.home)
                made = os.open("app", os.O_RDONLY | os.O_NOFOLLOW, dir_fd=ground.home)
                os.close(ground.app)
                ground.app = made
        os.close(os.open(".env", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=ground.app))

    raced = race.Race(
        arena,
        [_exchange(PARENT)],
        lambda _: confine_files.remove(ground.root, PARENT[:2], [".env"]),
        lambda _: naive.remove(str(arena.root), "home/app/.env"),
        held,
        {"symlink", "not-a-directory", "missing", "tampered"},
        reset,
    )
    report(raced, 2_000)
    held.close()
