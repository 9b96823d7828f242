"""How an SQLite registry's file is opened for writing; standard library only."""

from __future__ import annotations

import sqlite3
import time
from typing import Final
from urllib.parse import quote

from vault_svc.adapters.registry import faults

_PAUSE: Final = 0.005


def connection(path: str, journal: str, busy_timeout_seconds: float) -> sqlite3.Connection:
    """Return a connection to a file that exists, which survives power loss; BEGIN is the caller's.

    journal is SQLite's journal mode. Raises registry errors only.
    """
    made = None
    try:
        made = sqlite3.connect(
            f"file:{quote(path)}?mode=rw",
            uri=True,
            timeout=busy_timeout_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        made.execute("PRAGMA foreign_keys = ON")
        made.execute("PRAGMA synchronous = FULL")
        _journal(made, journal, busy_timeout_seconds)
    except sqlite3.Error as error:
        if made:
            made.close()
        raise faults.of_sqlite(error, path) from None
    return made


def _journal(made: sqlite3.Connection, mode: str, busy_timeout_seconds: float) -> None:
    # Changing the mode does not wait for other openers by itself.
    deadline = time.monotonic() + busy_timeout_seconds
    while True:
        try:
            made.execute(f"PRAGMA journal_mode = {mode}").fetchone()
        except sqlite3.OperationalError as error:
            busy = (error.sqlite_errorcode & 0xFF) == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
        else:
            return
