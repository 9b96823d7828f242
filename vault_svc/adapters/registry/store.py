"""The whole registry over SQLAlchemy: PostgreSQL behind a URL, or SQLite that must be migrated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import TextClause, text
from sqlalchemy.exc import IntegrityError

from vault_svc.adapters.registry import migrate, place
from vault_svc.adapters.registry.connect import open_engine, translated, translating
from vault_svc.adapters.registry.reads import Rows
from vault_svc.adapters.registry.reserve import RESERVE_BYTES, Reserve
from vault_svc.adapters.registry.schema import SCHEMA_VERSION
from vault_svc.adapters.registry.writes import BrokenConstraintError, TenantWrites

if TYPE_CHECKING:
    from sqlalchemy import Connection


class SqlRegistry(TenantWrites):
    """Registry over one URL."""

    def __init__(
        self,
        url: str,
        *,
        busy_timeout_seconds: float = 10.0,
        receipts_kept: int = 100,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        """Open, and migrate where the schema is older; `create.create` makes a registry.

        Raises `usage` (not initialised), `registry_corrupt`, `registry_newer`, `busy`,
        `no_space`, `read_only`.
        """
        path = place.sqlite_path(url)
        super().__init__(Reserve(path, reserve_bytes), receipts_kept)
        self._where = path or url.rpartition("@")[2]
        self._engine = open_engine(url, busy_timeout_seconds=busy_timeout_seconds)
        self.row_lock = " FOR UPDATE" if self._engine.dialect.name == "postgresql" else ""
        try:
            self._bring_current()
        except BaseException:
            self._engine.dispose()
            raise

    def dispose(self) -> None:
        """Give every connection back."""
        self._engine.dispose()

    def fetch(self, sql: str, params: Mapping[str, Any]) -> Rows:
        """Return all rows of a SELECT."""
        with translating(self._where), self._engine.connect() as connection:
            return connection.execute(_text(sql), params).all()

    @contextmanager
    def transaction(self) -> Iterator[_Work]:
        """Begin a writing transaction; see the base."""
        try:
            with self._transaction() as connection:
                yield _Work(connection)
        except IntegrityError as error:
            raise BrokenConstraintError(translated(error, self._where)) from None

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with translating(self._where), self._engine.connect() as connection:
            writer = connection.execution_options(writes=True)
            with writer.begin():
                yield writer

    def _bring_current(self) -> None:
        with translating(self._where), self._engine.connect() as connection:
            if migrate.current_version(connection, self._where) == SCHEMA_VERSION:
                return
        with self._transaction() as connection:
            migrate.bring_current(connection, self._where)


class _Work:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, sql: str, *rows: Mapping[str, Any]) -> int:
        return self._connection.execute(_text(sql), rows).rowcount if rows else 0

    def select(self, sql: str, params: Mapping[str, Any]) -> Rows:
        return self._connection.execute(_text(sql), params).all()


@lru_cache(maxsize=256)
def _text(sql: str) -> TextClause:
    return text(sql)
