"""Engines: the only place that knows how each database is opened and tuned."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import create_engine, event
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.pool import QueuePool

from vault_svc.adapters.registry import faults, place, sqlite_file
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
        creator=lambda: sqlite_file.connection(path, journal, busy_timeout_seconds),
        poolclass=QueuePool,
    )
    event.listen(engine, "begin", _begin)
    return engine


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
