"""A jail, the host around it, and the oracle that looks at both before and after an attack."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import oracle
from vault_svc.adapters.delivery import ConfinedDelivery
from vault_svc.domain.paths import jail_path
from vault_svc.domain.receipt import Found, Owner, Placed
from vault_svc.hazmat import confine_walk
from vault_svc.hazmat.confine_root import open_root
from vault_svc.hazmat.confine_walk import Root
from vault_svc.ports.delivery import JailRoot

TENANT = 1000
HOST_USER = 4242
SECRET = b"TOKEN=s3cr3t-of-the-tenant\n"
ENV = "/home/app/.env"
_libc = ctypes.CDLL(None, use_errno=True)
_MNT_DETACH = 2


def is_root() -> bool:
    return os.geteuid() == 0


def trusted(path: Path) -> bool:
    """Say whether path and all above it belong to root or us and nobody else may write them."""
    for each in (path, *path.parents):
        status = each.lstat()
        plain = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o022
        if not plain or status.st_uid not in {0, os.geteuid()}:
            return False
    return True


@contextlib.contextmanager
def safe_directory() -> Iterator[Path]:
    """Yield a fresh directory that may be above a jail; /tmp never is (decision 6)."""
    here = Path(__file__).resolve().parents[2] / ".work"
    given = os.environ.get("COLIBRI_TEST_SAFE_DIR")
    candidates = (
        [Path(given)] if given else [here, Path.home(), Path("/run/user", str(os.getuid()))]
    )
    for candidate in candidates:
        with contextlib.suppress(OSError):
            candidate.mkdir(mode=0o755, exist_ok=True)
            if not trusted(candidate):
                continue
            made = Path(tempfile.mkdtemp(prefix="arena-", dir=candidate))
            made.chmod(0o755)
            try:
                yield made
            finally:
                shutil.rmtree(made, ignore_errors=True)
            return
    pytest.skip("no directory here whose ancestors only root or this user may write")


@contextlib.contextmanager
def mounted(
    kind: str, source: str, target: Path, options: str = "", flags: int = 0
) -> Iterator[None]:
    """Mount for as long as the block runs; root only."""
    data = options.encode() or None
    if _libc.mount(source.encode(), str(target).encode(), kind.encode(), flags, data) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))
    try:
        yield
    finally:
        while _libc.umount2(str(target).encode(), _MNT_DETACH) == 0:
            pass


class Arena:
    """`top` holds the base `jails` with jail t1, colibri's `state`, the host's `outside`."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.owner = Owner(TENANT, TENANT) if is_root() else Owner(os.getuid(), os.getgid())
        self.base = self._directory("jails", 0, 0o755)
        self.state = self._directory("state", 0, 0o700)
        self.root = self._directory("jails/t1/root", 0, 0o755)
        self.app = self._directory("jails/t1/root/home/app", self.owner.uid, 0o755)
        self.home = self.app.parent
        self.env = self.app / ".env"
        self.shadow = self.file(self._directory("jails/t1/root/etc", 0, 0o755) / "shadow", 0o640)
        self.outside = self._directory("outside", 0, 0o755)
        self.dir = self._directory("outside/dir", 0, 0o755)
        self.victim = self.file(self.outside / "victim", 0o644, HOST_USER)
        self.file(self.dir / "keep", 0o644, HOST_USER)
        self._allowed: set[str] = set()
        self._touched: set[str] = set()
        self._before: tuple[object, ...] | None = None

    def _directory(self, name: str, uid: int, mode: int) -> Path:
        path = self.top
        for part in name.split("/"):
            path /= part
            if not path.exists():
                path.mkdir()
                path.chmod(0o755)
        path.chmod(mode)
        if is_root():
            os.chown(path, uid, uid)
        return path

    def file(self, path: Path, mode: int = 0o644, uid: int = 0, content: bytes = b"mine\n") -> Path:
        path.write_bytes(content)
        path.chmod(mode)
        if is_root():
            os.chown(path, uid, uid)
        return path

    def delivery(self, walk: str, *, create_parents: bool = False) -> ConfinedDelivery:
        return ConfinedDelivery(
            [str(self.base)],
            state_dir=str(self.state),
            walk=walk,
            create_parents=create_parents,
        )

    def arm(self, *allowed: str, touched: str = "") -> None:
        """Take the picture that must still be true in the end, but for names of the jail.

        touched: a directory whose times may move although its names stay (a temporary name).
        """
        self._allowed = set(allowed)
        self._touched = {touched} - {""}
        self._before = self._look()

    def _look(self) -> tuple[object, ...]:
        inside = oracle.picture(self.root)
        # The directory of an allowed name keeps inode, owner and mode; its times and size move.
        parents = {os.path.dirname(name) or "." for name in self._allowed} | self._touched
        for parent in parents & inside.keys():
            inside[parent] = inside[parent][:4]
        kept = {name: entry for name, entry in inside.items() if name not in self._allowed}
        outside = oracle.picture(self.outside)
        return (outside, kept, oracle.descriptors(), oracle.mounts(self.top))

    def check(self) -> None:
        """The global oracle: host, rest of the jail, descriptors and mounts are as before."""
        assert self._before is not None, "the test never armed the oracle"
        for before, after in zip(self._before, self._look(), strict=True):
            assert after == before
        assert not self.leftovers()

    def leftovers(self) -> list[str]:
        """Return temporary files of colibri anywhere in the jail."""
        names = oracle.picture(self.root)
        return [str(self.root / name) for name in names if ".colibri-" in name]

    def good(self, found: Found, content: bytes = SECRET) -> bool:
        return not found.drift_from(content, 0o600, self.owner)


class Attack:
    """One delivery of an arena over one walk: what a service would call."""

    def __init__(self, arena: Arena, walk: str, *, create_parents: bool = False) -> None:
        self.arena = arena
        self.delivery = arena.delivery(walk, create_parents=create_parents)
        self.jail = JailRoot(str(arena.root))

    def place(self, path: str = ENV, content: bytes = SECRET) -> Placed:
        with oracle.bounded():
            return self.delivery.place(self.jail, jail_path(path), content, self.arena.owner)

    def inspect(self, path: str = ENV, max_bytes: int = 1 << 16) -> Found:
        with oracle.bounded():
            return self.delivery.inspect(self.jail, jail_path(path), max_bytes=max_bytes)

    def remove(self, path: str = ENV) -> str:
        with oracle.bounded():
            return self.delivery.remove(self.jail, jail_path(path))


def opened(arena: Arena, walk: str) -> Root:
    """Prove the arena's root once, for volume; the caller closes the descriptor."""
    chosen = confine_walk.choose(walk, allow_fallback=True)
    return open_root(str(arena.root), bases=[str(arena.base)], forbidden=[], ino=None, walk=chosen)
