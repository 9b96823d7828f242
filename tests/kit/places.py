"""Private directories that nobody else can change the way to: for state (decision 6)."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def trusted(path: Path) -> bool:
    """Say whether everything from `/` to path is root's or ours, and nobody else may write it."""
    for each in (path, *path.parents):
        status = each.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o022:
            return False
        if status.st_uid not in {0, os.geteuid()}:
            return False
    return os.access(path, os.W_OK)


def candidates() -> list[Path]:
    """Return where to look, best first; pytest's own tmp_path lies under a sticky /tmp."""
    places = [Path("/run/user", str(os.geteuid())), Path("/var/lib"), Path.home()]
    return [*places, CHECKOUT / ".work"]


@contextlib.contextmanager
def private_directory() -> Iterator[Path]:
    """Yield a fresh directory, 0700, and remove it afterwards; fail where there is no place."""
    for place in candidates():
        with contextlib.suppress(OSError):
            if place == CHECKOUT / ".work":
                place.mkdir(mode=0o755, exist_ok=True)
            if not trusted(place):
                continue
            made = Path(tempfile.mkdtemp(prefix="colibri-test-", dir=place))
            break
    else:
        raise AssertionError(f"nobody-else-may-write fails for all of {candidates()}; set HOME")
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
