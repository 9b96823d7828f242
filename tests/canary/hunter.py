"""Looks for marked secrets: in files, in processes, and as a process of its own while others run.

Run as a program it reads marks (one `Marks.dumped` line each) from stdin, sweeps /proc and the
directories named as arguments until stdin ends, and prints what it found as one JSON document.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.canary.marks import Marks, files_below, loaded

INPUTS = "inputs"  # where the operator's own files lie before they are read
MAX_FILE = 64 * 1024 * 1024
Place = tuple[str, str]
Allowed = Callable[[Path], bool]
Known = dict[Path, tuple[int, ...]]
SYSTEM = ("/usr/", "/lib", "/dev/")
PAUSE_SECONDS = 0.02  # the hunted need the processor as well
SETTLED_NS = 50_000_000


def nowhere(_: Path) -> bool:
    return False


def in_tree(
    top: Path, marks: Marks, allowed: Allowed = nowhere, known: Known | None = None
) -> set[Place]:
    """Return (place, secret) for names, link targets, attributes and contents below top.

    known: files already searched for these marks, as they were; they are not read again.
    """
    return {
        (f"{what} {path.relative_to(top)}", name)
        for path in files_below(top)
        if not allowed(path)
        for what, data in _sides(path, {} if known is None else known)
        for name in marks.find(data)
    }


def _sides(path: Path, known: Known) -> Iterator[tuple[str, bytes]]:
    with contextlib.suppress(OSError):
        status = path.lstat()
        state = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        # Written at this very moment: the clock of the file system may be too coarse to tell.
        settled = abs(time.time_ns() - status.st_mtime_ns) > SETTLED_NS
        if known.get(path) == state:
            return
        if settled:
            known[path] = state
        yield "name of", os.fsencode(path)
        if stat.S_ISLNK(status.st_mode):
            yield "target of", os.fsencode(path.readlink())
            return
        for attribute in os.listxattr(path, follow_symlinks=False):
            yield "attribute of", os.fsencode(attribute) + os.getxattr(path, attribute)
        if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_FILE:
            yield "content of", path.read_bytes()


def in_process(pid: int, marks: Marks, allowed: Allowed = nowhere) -> tuple[set[Place], set[str]]:
    """Return what argv, environment and open files of pid hold, and which were hidden."""
    found: set[Place] = set()
    hidden: set[str] = set()
    for what in ("cmdline", "environ"):
        try:
            data = Path(f"/proc/{pid}/{what}").read_bytes()
        except PermissionError:
            hidden.add(what)
        except OSError:
            continue
        else:
            found |= {(what, name) for name in marks.find(data)}
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except PermissionError:
        hidden.add("fd")
    except OSError:
        pass
    else:
        for number in descriptors:
            found |= _descriptor(f"/proc/{pid}/fd/{number}", marks, allowed)
    return found, hidden


def _descriptor(link: str, marks: Marks, allowed: Allowed) -> set[Place]:
    try:
        target = os.readlink(link)
        if not target.startswith("/"):
            return set()
        found = {("fd name", name) for name in marks.find(os.fsencode(target))}
        ours = target.startswith(SYSTEM) or allowed(Path(target))
        if not ours and stat.S_ISREG(os.stat(link).st_mode):
            with open(link, "rb") as opened:
                found |= {("fd content", name) for name in marks.find(opened.read(1 << 20))}
    except OSError:
        return set()
    return found


def delivered_or_credential(state: str) -> Allowed:
    """Allow the places where secrets belong: delivered files (and their staging), credentials."""
    jails, credentials = state + "/jails/", state + "/credentials/"

    def allowed(path: Path) -> bool:
        text = str(path)
        staged = "/.colibri-" in text or "/#" in text  # a nameless inode is shown as /#INODE
        parts = text.removeprefix(jails).split("/")
        home = text.startswith(jails) and (_delivered(parts[1:]) or staged)
        return home or text.startswith(credentials) or path.parent.name == INPUTS

    return allowed


def _delivered(parts: list[str]) -> bool:
    return parts == ["root", ".env"] or parts[:2] == ["root", "secrets"]


def _processes() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()} - {os.getpid()}


class Sweeps:
    """What the sweeping process has seen so far."""

    def __init__(self, tops: list[str]) -> None:
        self.marks = Marks()
        self.count = 0
        self.seen: set[int] = set()
        self.found: set[Place] = set()
        self.hidden: set[str] = set()
        self._tops = tops
        self._allowed = [delivered_or_credential(top) for top in tops]
        self._known: Known = {}
        self._old: set[int] = set()

    def learn(self, line: str) -> None:
        """Take marks, and look again at everything with them."""
        for name, pieces in loaded(line).pieces.items():
            self.marks.add(name, *pieces)
        self._known.clear()
        self._old.clear()

    def sweep(self) -> None:
        """Look at processes (those that were here at the start only once) and at the trees."""
        running = _processes()
        for pid in running - self._old:
            found, hidden = in_process(pid, self.marks, self._fine)
            self.found |= {(f"{place} of {pid}", name) for place, name in found}
            self.hidden |= {f"{what} of {pid}" for what in hidden}
        self._old = self._old or running
        self.seen |= running
        for top in self._tops:
            self.found |= in_tree(Path(top), self.marks, self._fine, self._known)
        self.count += 1

    def _fine(self, path: Path) -> bool:
        return any(each(path) for each in self._allowed)


def main(tops: list[str]) -> None:
    sweeps = Sweeps(tops)
    while True:
        if select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
            line = sys.stdin.readline()
            if not line:
                break
            sweeps.learn(line)
            print("ready", flush=True)
        sweeps.sweep()
    report = {
        "sweeps": sweeps.count,
        "found": sorted(sweeps.found),
        "hidden": sorted(sweeps.hidden),
        "seen": sorted(sweeps.seen),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1:])
