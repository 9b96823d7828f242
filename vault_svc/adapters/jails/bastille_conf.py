"""What Bastille keeps of its jails: `<jails>/<name>/jail.conf`, as generate_jail_conf writes it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from vault_svc.domain import names
from vault_svc.errors import ColibriError
from vault_svc.hazmat import hostfiles, trees

_CONF: Final = "jail.conf"
_MARK: Final = "colibri"
_UNSAFE: Final = "unsafe_base"
_MODES: Final = frozenset({0o600, 0o640, 0o644})
_MAX_BYTES: Final = 65_536
_HEAD: Final = re.compile(r"^\s*(\S+)\s*\{\s*$", re.MULTILINE)
_PATH: Final = re.compile(r'^\s*path\s*\+?=\s*("?)([^;"\n]+?)\1\s*;\s*$', re.MULTILINE)


def jails(directory: str) -> tuple[str, ...]:
    """Return the names of the jails there, sorted; none where the directory is not there."""
    try:
        with hostfiles.directory(directory, _UNSAFE) as parent:
            found = filter(names.is_jail_name, trees.entries(parent))
            return tuple(sorted(name for name in found if _has_conf(parent, name)))
    except FileNotFoundError:
        return ()


def root(directory: str, name: str) -> str:
    """Return the path that a jail's jail.conf names; raise `jail_root_mismatch` if it is unclear.

    The file lies beside the jail's root, where the tenant does not reach.
    """
    with _opened(directory, name) as jail:
        try:
            found = hostfiles.read_at(jail, _CONF, _UNSAFE, max_bytes=_MAX_BYTES, modes=_MODES)
        except FileNotFoundError:
            raise ColibriError("jail_not_found", f"Bastille has no jail '{name}'") from None
    text = found.decode(errors="replace")
    heads, paths = _HEAD.findall(text), _PATH.findall(text)
    if heads != [name] or len(paths) != 1:
        raise ColibriError(
            "jail_root_mismatch",
            f"the jail.conf of '{name}' does not name one jail of this name with one path",
            hint="look at it with bastille edit",
        )
    return str(paths[0][1])


def mark(directory: str, name: str) -> None:
    """Record that colibri made a jail."""
    with _opened(directory, name) as jail:
        hostfiles.replace_at(jail, _MARK, f"{name}\n".encode())


def is_marked(directory: str, name: str) -> bool:
    """Say whether colibri made a jail."""
    with _opened(directory, name) as jail:
        try:
            return hostfiles.read_at(jail, _MARK, _UNSAFE, max_bytes=64) == f"{name}\n".encode()
        except FileNotFoundError:
            return False


@contextmanager
def _opened(directory: str, name: str) -> Iterator[int]:
    try:
        with hostfiles.directory(f"{directory}/{name}", _UNSAFE) as jail:
            yield jail
    except FileNotFoundError:
        raise ColibriError("jail_not_found", f"Bastille has no jail '{name}'") from None


def _has_conf(parent: int, name: str) -> bool:
    jail = trees.subdirectory(parent, name)
    if jail is None:
        return False
    try:
        return _CONF in trees.entries(jail)
    finally:
        os.close(jail)
