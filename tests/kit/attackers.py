"""The hostile tenant: a process of its own, shut into the jail, that swaps names as fast as it can.

Run as a script it needs only the standard library, confines itself (chroot, limits, an alarm)
and reports what it did. Imported, it offers `Attacker`, which starts and stops that script.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import re
import resource
import signal
import struct
import subprocess
import sys
import time
from typing import Self

_libc = ctypes.CDLL(None, use_errno=True)
_EXCHANGE = 2
_IN_CREATE, _IN_MOVED_TO = 0x100, 0x80
_EVENT = struct.Struct("iIII")
_BATCH = 256
_stopped = False


class Attacker:
    """A running attack; use as a context manager; `report` has counts after it."""

    def __init__(self, jail: str, mode: str, **options) -> None:
        """Take the jail's root and a mode of this module's table with its options."""
        self.mode = mode
        self.report: dict = {}
        order = json.dumps({"jail": jail, "mode": mode, **options})
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, order],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            close_fds=True,
            start_new_session=True,
        )
        self._out = self._process.stdout
        assert self._out is not None
        assert self._out.readline() == "ready\n", "the attacker did not start"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            out, _ = self._process.communicate(timeout=10)
            self.report = json.loads(out or "{}")
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def rate(self) -> float:
        """Successful moves per second of the attacker's own processor time."""
        return self.report["moves"] / max(self.report["cpu_seconds"], 1e-6)


def _stop(*_: object) -> None:
    global _stopped  # noqa: PLW0603  a signal handler has nowhere else to put it
    _stopped = True


def _confine(order: dict) -> None:
    """Shut this process into the jail; as an ordinary user only the limits hold it."""
    resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
    resource.setrlimit(resource.RLIMIT_CPU, (1700, 1700))
    signal.alarm(1800)
    signal.signal(signal.SIGTERM, _stop)
    if "pid" in order:
        _enter(order["pid"])
        return
    os.chdir(order["jail"])
    if os.geteuid() == 0:
        os.chroot(".")
        uid = order.get("uid", 0)
        os.setgid(uid)
        os.setuid(uid)


def _enter(pid: int) -> None:
    """Become root in a running container: its user and mount namespaces, its `/`."""
    root = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_DIRECTORY)
    spaces = {kind: os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in ("user", "mnt")}
    if os.fstat(spaces["user"]).st_ino == os.stat("/proc/self/ns/user").st_ino:
        del spaces["user"]
    for fd in spaces.values():
        if _libc.setns(fd, 0) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    os.fchdir(root)
    os.chroot(".")
    os.setgid(0)
    os.setuid(0)


def _pause(order: dict) -> None:
    """Sleep between moves: fixed, or random between two bounds, in seconds."""
    low, high = order.get("sleep", (0, 0))
    if high:
        time.sleep(random.uniform(low, high))


def _exchange(order: dict) -> int:
    """Exchange pairs of names, each in its directory, with renameat2(RENAME_EXCHANGE)."""
    calls = []
    for directory, one, other in order["pairs"]:
        fd = ctypes.c_int(os.open(directory, os.O_RDONLY | os.O_DIRECTORY))
        calls.append((fd, one.encode(), fd, other.encode(), ctypes.c_uint(_EXCHANGE)))
    rename, slow, moves = _libc.renameat2, "sleep" in order, 0
    while not _stopped:
        for _ in range(1 if slow else _BATCH):
            for call in calls:
                if rename(*call) == 0:
                    moves += 1
        if slow:
            _pause(order)
    return moves


def _away(order: dict) -> int:
    """Rename a directory away and back."""
    moves = 0
    fd = os.open(order["directory"], os.O_RDONLY | os.O_DIRECTORY)
    name, hidden = order["name"], order["name"] + ".away"
    while not _stopped:
        for one, other in ((name, hidden), (hidden, name)):
            with contextlib.suppress(OSError):
                os.rename(one, other, src_dir_fd=fd, dst_dir_fd=fd)
                moves += 1
    return moves


def _remake(order: dict) -> int:
    """Empty and remove a directory, make it again for its owner."""
    moves = 0
    fd = os.open(order["directory"], os.O_RDONLY | os.O_DIRECTORY)
    name = order["name"]
    os.chdir(order["directory"])
    while not _stopped:
        with contextlib.suppress(OSError):
            for each in os.listdir(name):
                os.unlink(f"{name}/{each}")
        for act in (os.rmdir, os.mkdir):
            with contextlib.suppress(OSError):
                act(name, dir_fd=fd)
                moves += 1
        with contextlib.suppress(OSError):
            os.chown(name, order["owner"], order["owner"], dir_fd=fd, follow_symlinks=False)
        _pause(order)
    return moves


def _hunt(order: dict) -> int:
    """Wait for a temporary name to appear in a directory and do something to it."""
    watch = _libc.inotify_init1(os.O_NONBLOCK)
    if _libc.inotify_add_watch(watch, order["directory"].encode(), _IN_CREATE | _IN_MOVED_TO) < 0:
        raise OSError(ctypes.get_errno(), "inotify_add_watch")
    fd = os.open(order["directory"], os.O_RDONLY | os.O_DIRECTORY)
    pattern, act, moves = re.compile(order["pattern"]), _TRAPS[order["action"]], 0
    while not _stopped:
        try:
            events = os.read(watch, 65536)
        except BlockingIOError:
            continue
        while events:
            length = _EVENT.unpack_from(events)[3]
            name = events[_EVENT.size : _EVENT.size + length].rstrip(b"\0").decode()
            events = events[_EVENT.size + length :]
            if pattern.fullmatch(name) and random.random() < order["chance"]:
                with contextlib.suppress(OSError):
                    act(fd, name, order["target"])
                    moves += 1
    return moves


def _trap_symlink(fd: int, name: str, target: str) -> None:
    os.unlink(name, dir_fd=fd)
    os.symlink(target, name, dir_fd=fd)


def _trap_hardlink(fd: int, name: str, target: str) -> None:
    os.unlink(name, dir_fd=fd)
    os.link(target, name, dst_dir_fd=fd)


def _trap_keep(fd: int, name: str, target: str) -> None:
    os.link(name, f"{target}{random.getrandbits(32)}", src_dir_fd=fd, dst_dir_fd=fd)


def _trap_steal(fd: int, name: str, target: str) -> None:
    os.rename(name, f"{target}{random.getrandbits(32)}", src_dir_fd=fd, dst_dir_fd=fd)


def _trap_foreign(fd: int, name: str, target: str) -> None:
    _libc.renameat2(fd, name.encode(), fd, target.encode(), _EXCHANGE)


_TRAPS = {
    "symlink": _trap_symlink,
    "hardlink": _trap_hardlink,
    "keep": _trap_keep,
    "steal": _trap_steal,
    "foreign": _trap_foreign,
}


def _mount(order: dict) -> int:
    """Mount a tmpfs on a directory of the namespace the host sees, and take it away."""
    path, moves = order["directory"].encode(), 0
    while not _stopped:
        if _libc.mount(b"tmpfs", path, b"tmpfs", 0, b"mode=777") == 0:
            moves += 1
        _pause(order)
        while _libc.umount2(path, 2) == 0:
            pass
        _pause(order)
    return moves


def _storm(order: dict) -> int:
    """Rename within a directory of its own, which nobody else looks at."""
    fd = os.open(order["directory"], os.O_RDONLY | os.O_DIRECTORY)
    os.mkdir("storm-a", dir_fd=fd)
    moves = 0
    while not _stopped:
        for _ in range(_BATCH):
            os.rename("storm-a", "storm-b", src_dir_fd=fd, dst_dir_fd=fd)
            os.rename("storm-b", "storm-a", src_dir_fd=fd, dst_dir_fd=fd)
            moves += 2
    os.rmdir("storm-a", dir_fd=fd)
    return moves


_MODES = {
    "exchange": _exchange,
    "away": _away,
    "remake": _remake,
    "hunt": _hunt,
    "mount": _mount,
    "storm": _storm,
}


def _main() -> None:
    order = json.loads(sys.argv[1])
    _confine(order)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    began = time.process_time()
    moves = _MODES[order["mode"]](order)
    spent = time.process_time() - began
    sys.stdout.write(json.dumps({"moves": moves, "cpu_seconds": spent}))


if __name__ == "__main__":
    _main()
