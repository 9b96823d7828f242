"""The state directory and what `init` makes in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vault_svc.hazmat import hostfiles
from vault_svc.settings import DEFAULT_SOURCE_FILE

_INSIDE = ("credentials", "store", "audit")


def make_state(data_dir: str, bases: Sequence[str]) -> tuple[str, ...]:
    """Make the directories that are missing, 0700; return those made.

    Raises `unsafe_base` where a directory above could be changed by others.
    """
    wanted = [data_dir, *(str(Path(data_dir) / name) for name in _INSIDE), *bases]
    made = []
    for path in wanted:
        for missing in _missing(path):
            hostfiles.make_directory(missing, "unsafe_base")
            made.append(missing)
    return tuple(made)


def record_default_source(data_dir: str, source: str) -> None:
    """Make source the default of this host, unless a setting says otherwise (decision 2)."""
    with hostfiles.directory(data_dir, "unsafe_base") as parent:
        hostfiles.replace_at(parent, DEFAULT_SOURCE_FILE, source.encode("ascii"))


def _missing(path: str) -> list[str]:
    """Return the missing directories on the way to path, topmost first."""
    found: list[str] = []
    current = Path(path)
    while not current.is_symlink() and not current.exists():
        found.append(str(current))
        current = current.parent
    return found[::-1]
