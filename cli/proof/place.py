"""A scratch place for the proof: nobody else may change what leads to it (decision 6)."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli.proof.ending import Ending
from vault_svc.errors import ColibriError

PREFIX: Final = "colibri-proof-"
_OTHERS_WRITE: Final = 0o022


@dataclass(frozen=True, slots=True)
class Place:
    """A directory of our own, and in words what kind of place it is in."""

    path: Path
    kind: str


def candidates(environ: Mapping[str, str]) -> list[tuple[str, Path]]:
    """Return runtime, state and home directory of this account, in the order they are tried."""
    home = Path(environ.get("HOME") or "~").expanduser()
    bsd = sys.platform.startswith("freebsd")
    if os.geteuid() == 0:
        runtime, state = (
            (Path("/var/run"), Path("/var/db")) if bsd else (Path("/run"), Path("/var/lib"))
        )
    else:
        runtime, state = Path(f"/run/user/{os.geteuid()}"), home / ".local" / "state"
        state = Path(environ.get("XDG_STATE_HOME") or state)
        runtime = Path(environ.get("XDG_RUNTIME_DIR") or runtime)
    return [("runtime directory", runtime), ("state directory", state), ("home directory", home)]


def why_not(path: Path) -> str | None:
    """Return why path cannot hold a proof, None if it can.

    Every component from `/` on must be a real directory of root's or ours that neither group
    nor others may write, sticky or not.
    """
    for each in (*reversed(path.parents), path):
        try:
            status = each.lstat()
        except OSError as error:
            return f"'{each}': {error.strerror}"
        if not stat.S_ISDIR(status.st_mode):
            return f"'{each}' is no directory"
        if status.st_uid not in {0, os.geteuid()}:
            return f"'{each}' belongs to uid {status.st_uid}"
        if status.st_mode & _OTHERS_WRITE:
            return f"'{each}' can be written to by others ({stat.S_IMODE(status.st_mode):04o})"
    return None if os.access(path, os.W_OK) else f"'{path}' cannot be written to"


@contextmanager
def scratch(places: Sequence[tuple[str, Path]], ending: Ending) -> Iterator[Place]:
    """Hold a fresh directory in the first place that will do; remove it on every way out.

    Raises `unsafe_base` when no place will do. The directory is locked while the proof runs:
    what a killed proof left is recognised by its free lock and removed by the next one.
    """
    kind, base = _choose(places)
    _sweep(base)
    with ExitStack() as held:
        with ending.held():
            path = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=base))
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            held.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Only now under the name that another proof's sweep looks for.
            path = path.rename(base / path.name[1:])
            held.callback(_remove, path, ending)
        yield Place(path, kind)


def _remove(path: Path, ending: Ending) -> None:
    with ending.held():
        shutil.rmtree(path, ignore_errors=True)


def _choose(places: Sequence[tuple[str, Path]]) -> tuple[str, Path]:
    reasons = []
    for kind, place in places:
        found = Path(os.path.abspath(place))  # noqa: PTH100 - resolve() would hide a symlink
        why = why_not(found)
        if why is None:
            return kind, found
        reasons.append(why)
    raise ColibriError(
        "unsafe_base",
        "there is no safe place for a proof: " + "; ".join(reasons),
        hint="set HOME to a directory that only you can write, all the way from /",
    )


def _sweep(base: Path) -> None:
    for left in base.glob(PREFIX + "*"):
        status = left.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            continue
        lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(lock)
