"""Engines: the only place that knows how each database is opened and tuned."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from sqlalchemy import create_engine, event
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.pool import QueuePool

from vault_svc.adapters.registry import faults, place
from vault_svc.errors import ColibriError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_BUSY_STATES: Final = ("40001", "40P01", "55P03", "57014", "08", "57P")


def open_engine(url: str, *, busy_timeout_seconds: float) -> Engine:
    """Return an engine whose writing transactions exclude each other and survive power loss."""
    path = place.sqlite_path(url)
    if path is None:
        try:
            return create_engine(url, pool_pre_ping=True)
        except (ArgumentError, ImportError):  # what SQLAlchemy says could show the URL's password
            raise ColibriError(
                "usage",
                "setting 'db_url' cannot be used: no such database, or its driver is not installed",
                hint="postgresql+psycopg://HOST/NAME needs the package psycopg",
            ) from None
    place.check(path)
    return sqlite_engine(path, "WAL", busy_timeout_seconds=busy_timeout_seconds)


def sqlite_engine(path: str, journal: str, *, busy_timeout_seconds: float) -> Engine:
    """Return an engine for an SQLite file that exists; journal is SQLite's journal mode."""
    engine = create_engine(
        "sqlite://",
        creator=lambda: _sqlite(path, journal, busy_timeout_seconds),
        poolclass=QueuePool,
    )
    event.listen(engine, "begin", _begin)
    return engine


def _sqlite(path: str, journal: str, busy_timeout_seconds: float) -> sqlite3.Connection:
    connection = None
    try:
        connection = sqlite3.connect(
            f"file:{quote(path)}?mode=rw",
            uri=True,
            timeout=busy_timeout_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        _journal(connection, journal, busy_timeout_seconds)
    except sqlite3.Error as error:
        if connection:
            connection.close()
        raise faults.of_sqlite(error, path) from None
    return connection


def _journal(connection: sqlite3.Connection, mode: str, busy_timeout_seconds: float) -> None:
    # Changing the mode does not wait for other openers by itself.
    deadline = time.monotonic() + busy_timeout_seconds
    while True:
        try:
            connection.execute(f"PRAGMA journal_mode = {mode}").fetchone()
        except sqlite3.OperationalError as error:
            busy = (error.sqlite_errorcode & 0xFF) == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return


def _begin(connection: Connection) -> None:
    # A writer takes its lock at once: a reader that turns writer could only fail.
    immediate = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


@contextmanager
def translating(where: str) -> Iterator[None]:
    """Turn what a driver raises into registry errors, but for broken constraints."""
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise translated(error, where) from None


def translated(error: DBAPIError, where: str) -> ColibriError:
    """Return the registry error that a driver's error means."""
    cause: Any = error.orig
    if isinstance(cause, sqlite3.Error):
        return faults.of_sqlite(cause, where)
    state = str(getattr(cause, "sqlstate", None) or "")
    if state == "53100":
        return faults.no_space(where)
    if state == "25006":
        return ColibriError("read_only", "the registry's server takes no writes now")
    if not state or state.startswith(_BUSY_STATES):
        return ColibriError("busy", "the registry's server did not answer in time")
    return faults.corrupt(where, f"the server answered SQLSTATE {state}")
