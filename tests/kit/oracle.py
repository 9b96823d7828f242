"""What must not have changed: a tree's digest, a fast guard for races, open descriptors, mounts."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

_READ_LIMIT = 1 << 20


def picture(
    top: Path | str, *, skip: frozenset[str] = frozenset()
) -> dict[str, tuple[object, ...]]:
    """Every name below top with inode, owner, mode, size, content or target, and ctime.

    Other file systems mounted below are not entered: procfs never stands still.
    """
    found: dict[str, tuple[object, ...]] = {}
    device = os.stat(top).st_dev
    for place, directories, files, fd in os.fwalk(top, follow_symlinks=False):
        for name in [".", *directories, *files]:
            shown = os.path.normpath(os.path.join(os.path.relpath(place, top), name))
            if os.stat(name, dir_fd=fd, follow_symlinks=False).st_dev != device:
                directories[:] = [each for each in directories if each != name]
            elif shown not in skip:
                found[shown] = _entry(fd, name)
    return found


def _entry(fd: int, name: str) -> tuple[object, ...]:
    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    kind, size = stat.S_IFMT(status.st_mode), status.st_size
    content: object = None
    if kind == stat.S_IFLNK:
        content = os.readlink(name, dir_fd=fd)
    elif kind == stat.S_IFREG and size <= _READ_LIMIT:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NOATIME, dir_fd=fd)
        content = hashlib.sha256(os.read(handle, _READ_LIMIT)).hexdigest()
        os.close(handle)
    times = status.st_ctime_ns
    return (status.st_ino, status.st_uid, status.st_gid, status.st_mode, size, content, times)


def descriptors() -> list[str]:
    """Return what this process has open, without the descriptor of the listing itself."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            found.append(f"{name}={target.removesuffix(' (deleted)')}")
    return sorted(f for f in found if "/proc/" not in f)


def mounts(top: Path) -> list[str]:
    """Return the mounts at or below top; other tests mount elsewhere meanwhile."""
    table = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in table if line.split()[4].startswith(str(top))]


class Hung(BaseException):
    """A call did not come back; not an Exception, so that no writer under test swallows it."""


class Watch:
    """Interrupts the main thread when it makes no progress: a hang, not slowness, is the fault."""

    def __init__(self, seconds: float = 5.0) -> None:
        self.beats = 0
        self._seconds = seconds
        self._done = threading.Event()

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGUSR1, self._raise)
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        signal.signal(signal.SIGUSR1, self._before)

    def _look(self) -> None:
        seen = -1
        while not self._done.wait(self._seconds):
            if seen == self.beats:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            seen = self.beats

    @staticmethod
    def _raise(*_: object) -> None:
        raise Hung


class Guard:
    """The decoys of a race, looked at after every attempt: names, owners, modes, content."""

    def __init__(self, directories: list[Path], files: list[Path], inside: list[Path]) -> None:
        """Take directories and files nothing may touch, and files of the jail's root.

        Names of inside may gain and lose links (the tenant makes them); the rest must stay.
        """
        self._directories = [(os.open(d, os.O_RDONLY | os.O_DIRECTORY), d) for d in directories]
        self._files = [(os.open(f, os.O_RDONLY), f) for f in files]
        self._inside = [(os.open(f, os.O_RDONLY), f) for f in inside]
        self._content = [os.pread(fd, _READ_LIMIT, 0) for fd, _ in self._files + self._inside]
        self._names = [sorted(os.listdir(fd)) for fd, _ in self._directories]
        self._stats = [os.fstat(fd) for fd, _ in self._files + self._inside]
        self._baseline = self._look()

    def close(self) -> None:
        for fd, _ in self._directories + self._files + self._inside:
            os.close(fd)

    def _look(self) -> tuple[object, ...]:
        seen: list[object] = []
        for fd, _ in self._directories:
            s = os.fstat(fd)
            seen.append((s.st_ino, s.st_uid, s.st_gid, s.st_mode, s.st_ctime_ns, *os.listdir(fd)))
        for fd, path in self._files:
            s = os.stat(path)
            seen.append((s.st_ino, s.st_uid, s.st_gid, s.st_mode, s.st_size, s.st_nlink))
            seen.append((s.st_mtime_ns, s.st_ctime_ns, os.pread(fd, 256, 0)))
        for fd, _ in self._inside:
            s = os.fstat(fd)
            seen.append((s.st_ino, s.st_uid, s.st_gid, s.st_mode, s.st_size, s.st_mtime_ns))
            seen.append(os.pread(fd, 256, 0))
        return tuple(seen)

    def touched(self) -> bool:
        """Say whether anything changed since the last restore."""
        return self._look() != self._baseline

    def restore(self) -> None:
        """Put the decoys back as they were."""
        for (fd, path), names in zip(self._directories, self._names, strict=True):
            for name in set(os.listdir(fd)) - set(names):
                _remove(fd, name)
            for name in set(names) - set(os.listdir(fd)):
                (path / name).write_bytes(b"sentinel\n")
            os.fchmod(fd, 0o755)
        for (fd, path), content, status in zip(
            self._files + self._inside, self._content, self._stats, strict=True
        ):
            if path.exists():
                path.write_bytes(content)
            os.fchmod(fd, stat.S_IMODE(status.st_mode))
            os.fchown(fd, status.st_uid, status.st_gid)
        self._baseline = self._look()


def _remove(fd: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=fd)
    except IsADirectoryError:
        os.rmdir(name, dir_fd=fd)


@contextlib.contextmanager
def bounded(seconds: float = 5.0) -> Iterator[None]:
    """Turn a call that hangs into Hung."""
    with Watch(seconds):
        yield


def hangs(act: Callable[[], object], seconds: float = 0.3) -> bool:
    """Say whether act neither returns nor raises within two periods of the watch."""
    try:
        with Watch(seconds):
            act()
    except Hung:
        return True
    except OSError:
        return False
    return False
