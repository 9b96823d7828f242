"""What a database's complaint means for an operator; standard library only."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from vault_svc.errors import ColibriError

RUNBOOK: Final = "see the runbook registry-corrupt.md; the file is left as it is"
_ROOM: Final = 64 * 1024


def newer(where: str, version: str) -> ColibriError:
    """Return the error for a schema that only a newer colibri knows."""
    return ColibriError(
        "registry_newer",
        f"the registry '{where}' has schema {version}, this colibri is older",
        hint="upgrade colibri on this host, or restore the registry's backup",
    )


def corrupt(where: str, why: str) -> ColibriError:
    """Return the error for a registry that cannot be read."""
    return ColibriError("registry_corrupt", f"the registry '{where}': {why}", hint=RUNBOOK)


def of_sqlite(error: sqlite3.Error, path: str) -> ColibriError:
    """Translate an SQLite error (primary result codes, https://sqlite.org/rescode.html)."""
    primary = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return ColibriError(
            "busy", "another process writes the registry", hint="run it again in a moment"
        )
    if primary == sqlite3.SQLITE_CANTOPEN and _exhausted():
        return ColibriError(
            "busy", f"the registry '{path}': too many open files", hint="raise RLIMIT_NOFILE"
        )
    if primary == sqlite3.SQLITE_FULL or (primary in _UNCLEAR and _full(path)):
        return no_space(path)
    if primary == sqlite3.SQLITE_READONLY or (primary in _UNCLEAR and _read_only(path)):
        return ColibriError(
            "read_only",
            f"the registry '{path}' cannot be written",
            hint="remount its file system read-write",
        )
    # SQLite's own words name tables and columns, never the values of a row.
    return corrupt(path, str(error))


def no_space(path: str) -> ColibriError:
    """Return the error for a full disk."""
    return ColibriError(
        "no_space",
        f"no space left for the registry '{path}'",
        hint="free some space and run it again; nothing was changed",
    )


# An I/O error or a file that cannot be opened may have a cause that statvfs knows.
_UNCLEAR: Final = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}


_DESCRIPTORS: Final = 8  # more than one connection opens at once


def _exhausted() -> bool:
    opened: list[int] = []
    try:
        while len(opened) < _DESCRIPTORS:
            opened.append(os.open("/", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return True
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return False


def _full(path: str) -> bool:
    try:
        found = os.statvfs(Path(path).parent)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _ROOM or (found.f_files > 0 and found.f_favail == 0)


def _read_only(path: str) -> bool:
    try:
        return bool(os.statvfs(Path(path).parent).f_flag & os.ST_RDONLY)
    except OSError:
        return False
