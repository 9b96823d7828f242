"""The cheap way in: read-only, standard library only, for commands that only look."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from vault_svc.adapters.registry import faults, place
from vault_svc.adapters.registry.reads import Rows, TenantReads
from vault_svc.adapters.registry.schema import SCHEMA_VERSION


class SqliteReader(TenantReads):
    """TenantReader over one read-only connection; each method sees one committed state."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        """Take an open connection; use `open_current`."""
        self._connection = connection
        self._path = path

    @classmethod
    def open_current(cls, path: str, *, busy_timeout_seconds: float = 10.0) -> SqliteReader | None:
        """Return a reader, or None where the schema is not current and the store must mend it.

        Raises `usage` (not initialised), `registry_newer`, `registry_corrupt`, `busy`.
        """
        place.check(path)
        # Nobody changes it there, so it needs no shared memory, which could not be made.
        how = "immutable=1" if place.is_still(path) else "mode=ro"
        uri = f"file:{quote(path)}?{how}"
        connection = None
        try:
            connection = sqlite3.connect(
                uri,
                uri=True,
                timeout=busy_timeout_seconds,
                isolation_level=None,
                check_same_thread=False,
            )
            version = schema_version(connection)
        except sqlite3.Error as error:
            if connection:
                connection.close()
            raise faults.of_sqlite(error, path) from None
        if version == SCHEMA_VERSION:
            return cls(connection, path)
        connection.close()
        if version is not None and version > SCHEMA_VERSION:
            raise faults.newer(path, str(version))
        return None

    def dispose(self) -> None:
        """Give the connection back; the reader is of no use after that."""
        self._connection.close()

    def fetch(self, sql: str, params: Mapping[str, Any]) -> Rows:
        """Return all rows of a SELECT."""
        try:
            return self._connection.execute(sql, params).fetchall()
        except sqlite3.Error as error:
            raise faults.of_sqlite(error, self._path) from None


VERSION_SQL = "SELECT version_num FROM alembic_version"


def schema_version(connection: sqlite3.Connection) -> int | None:
    """Return the number of the newest migration that ran, None where none of ours did."""
    tables = "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"
    if not connection.execute(tables).fetchone()[0]:
        return None
    row = connection.execute(VERSION_SQL).fetchone()
    return int(row[0]) if row and str(row[0]).isdecimal() else None
