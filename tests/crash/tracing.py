"""System calls as strace prints them: which change state, and how to kill at one of them."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

# `?`: not every architecture has the call. Unprivileged strace prints pointers (decision 23), so
# everything here is told by call number, descriptors and flags alone.
_OPENING = ("open", "openat", "creat")
_CHANGING = (
    *("write", "writev", "pwrite64", "pwritev", "pwritev2", "copy_file_range", "sendfile"),
    *("fsync", "fdatasync", "sync_file_range", "syncfs", "msync"),
    *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat"),
    *("unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "mknod", "mknodat"),
    *("chown", "lchown", "fchown", "fchownat", "chmod", "fchmod", "fchmodat", "fchmodat2"),
    *("truncate", "ftruncate", "fallocate", "utimensat"),
    *("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"),
)
_LINE = re.compile(r"^(\d+) +([a-z0-9_]+)\((.*)$")
_WRITING = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC|TMPFILE)")
_OUTPUT = re.compile(r"[12](<|,)")


@dataclass(frozen=True, slots=True)
class Call:
    """One call: `nth` of its name in its thread, from the command's first step on."""

    thread: int
    name: str
    arguments: str
    nth: int

    @property
    def changes(self) -> bool:
        """Say whether it changes state outside of the process; what it says to us does not."""
        if self.name in _OPENING:
            return _WRITING.search(self.arguments) is not None
        return self.name in _CHANGING and not _OUTPUT.match(self.arguments)

    def __str__(self) -> str:
        return f"{self.name} #{self.nth}"


def strace() -> str | None:
    """Return the path of strace, None where there is none."""
    return shutil.which("strace")


def command(out: Path, *, every: bool, kill_at: Call | None = None, paths: bool = False) -> list:
    """Return strace's arguments: all threads and children, every call or those that may change."""
    names = "all" if every else ",".join(f"?{name}" for name in (*_OPENING, *_CHANGING))
    made = [strace() or "strace", "-f", "-o", str(out), "-e", f"trace={names}", "-e", "signal=none"]
    if paths:
        made += ["-y", "-s", "4096"]
    if kill_at:
        made += ["-e", f"inject={kill_at.name}:signal=KILL:when={kill_at.nth}"]
    return made


def read(out: Path) -> list[Call]:
    """Return the calls in the order in which they began."""
    counts: Counter[tuple[str, str]] = Counter()
    calls = []
    for line in out.read_text(errors="replace").splitlines():
        if found := _LINE.match(line):
            thread, name, arguments = found.groups()
            counts[thread, name] += 1
            calls.append(Call(int(thread), name, arguments, counts[thread, name]))
    return calls
