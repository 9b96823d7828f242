"""The whole registry over one SQLite file whose schema is current; standard library only."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from vault_svc.adapters.registry import faults, sqlite_file
from vault_svc.adapters.registry.reads import Rows
from vault_svc.adapters.registry.reserve import RESERVE_BYTES, Reserve
from vault_svc.adapters.registry.writes import BrokenConstraintError, TenantWrites


class SqliteStore(TenantWrites):
    """Registry over one connection, which threads take in turns."""

    def __init__(
        self,
        path: str,
        *,
        busy_timeout_seconds: float = 10.0,
        receipts_kept: int = 100,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        """Open a file that was found to be a current registry; raise registry errors only."""
        super().__init__(Reserve(path, reserve_bytes), receipts_kept)
        self._path = path
        # Taken twice by one thread: a refusal reads while its transaction still stands.
        self._turn = threading.RLock()
        self._connection = sqlite_file.connection(path, "WAL", busy_timeout_seconds)

    def dispose(self) -> None:
        """Give the connection back; the store is of no use after that."""
        self._connection.close()

    def fetch(self, sql: str, params: Mapping[str, Any]) -> Rows:
        """Return all rows of a SELECT."""
        with self._turn, self._translating():
            return self._connection.execute(sql, params).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[_Work]:
        """Begin one that has the write lock at once: a reader turned writer could only fail."""
        with self._turn, self._translating():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield _Work(self._connection)
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise BrokenConstraintError(faults.of_sqlite(error, self._path)) from None
        except sqlite3.Error as error:
            raise faults.of_sqlite(error, self._path) from None


class _Work:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, sql: str, *rows: Mapping[str, Any]) -> int:
        return self._connection.executemany(sql, rows).rowcount if rows else 0

    def select(self, sql: str, params: Mapping[str, Any]) -> Rows:
        return self._connection.execute(sql, params).fetchall()
