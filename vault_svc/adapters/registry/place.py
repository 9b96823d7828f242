"""Where the registry is: URL to path, and whether the file is ours; standard library only."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vault_svc.adapters.registry import faults
from vault_svc.errors import ColibriError, not_initialised
from vault_svc.hazmat import private

_SQLITE: Final = "sqlite:///"


def sqlite_url(path: str) -> str:
    """Return the URL of a registry file."""
    return _SQLITE + path


def sqlite_path(url: str) -> str | None:
    """Return the file of an SQLite URL, None for another database; raise `usage`."""
    if not url.startswith("sqlite"):
        return None
    path = url.removeprefix(_SQLITE)
    if not url.startswith(_SQLITE) or not path.startswith("/"):
        raise ColibriError(
            "usage",
            "the registry's URL names no absolute file",
            hint="write sqlite:////absolute/path/colibri.sqlite, or set COLIBRI_DB_PATH",
        )
    return path


def check(path: str) -> None:
    """Raise `registry_corrupt` for a file that is not ours alone, `usage` for a missing one.

    Raises `unsafe_base` where others may change the directory it is in.
    """
    try:
        private.check_directory(str(Path(path).parent), "unsafe_base", private.OTHERS_WRITE)
        found = private.check_file(path, "registry_corrupt")
    except FileNotFoundError:
        raise not_initialised(path) from None
    except PermissionError:
        raise ColibriError(
            "usage", f"this account may not read '{path}'", hint="run colibri as its owner"
        ) from None
    if found.st_size == 0:
        # SQLite would take it for a new database: a lost registry must not look like an empty one.
        raise faults.corrupt(path, "the file is empty")


def is_still(path: str) -> bool:
    """Say whether a registry is on a read-only file system, with nothing left to be written."""
    if not os.statvfs(path).f_flag & os.ST_RDONLY:
        return False
    try:
        return Path(f"{path}-wal").stat().st_size == 0
    except FileNotFoundError:
        return True


def exists(path: str) -> bool:
    """Say whether anything stands at path."""
    return os.path.lexists(path)


@contextmanager
def making(path: str) -> Iterator[str | None]:
    """Yield an empty file 0600 beside path that takes its name when the block ends well.

    Yields None where path exists already. Two that make the same registry wait for each other,
    and a crash leaves no registry rather than half of one. Makes the directory, 0700.
    """
    directory, fresh = str(Path(path).parent), f"{path}.new"
    try:
        try:
            private.check_directory(directory, "unsafe_base", private.OTHERS_WRITE)
        except FileNotFoundError:
            private.make_directory(directory, "unsafe_base")
        with private.locked_directory(directory):
            if exists(path):
                yield None
                return
            for left in (fresh, f"{fresh}-journal"):
                private.remove(left)
            descriptor, _ = private.open_file(fresh, os.O_RDWR | os.O_CREAT, "registry_corrupt")
            os.close(descriptor)
            yield fresh
            private.rename(fresh, path)
            private.sync_directory(directory)
    except OSError as error:
        raise _unmakeable(path, error) from None


def _unmakeable(path: str, error: OSError) -> ColibriError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return faults.no_space(path)
    return ColibriError(
        "read_only",
        f"the registry '{path}' cannot be made: {error.strerror}",
        hint="check the data directory",
    )
