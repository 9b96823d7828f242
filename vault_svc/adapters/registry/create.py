"""Makes a registry where there is none: whole, or not at all."""

from __future__ import annotations

from sqlalchemy import Engine

from vault_svc.adapters.registry import migrate, place
from vault_svc.adapters.registry.connect import open_engine, sqlite_engine, translating


def create(url: str, *, busy_timeout_seconds: float) -> bool:
    """Make the registry; return False where there is one. Raises `no_space`, `read_only`, `busy`.

    On PostgreSQL the database must exist and hold nothing else.
    """
    path = place.sqlite_path(url)
    if path is None:
        engine = open_engine(url, busy_timeout_seconds=busy_timeout_seconds)
        return _fill(engine, url.rpartition("@")[2])
    with place.making(path) as fresh:
        if fresh is None:
            return False
        # A rollback journal: the file is whole by itself when it gets its name.
        engine = sqlite_engine(fresh, "DELETE", busy_timeout_seconds=busy_timeout_seconds)
        return _fill(engine, fresh)


def _fill(engine: Engine, where: str) -> bool:
    try:
        with translating(where), engine.connect() as connection:
            writer = connection.execution_options(writes=True)
            with writer.begin():
                there = migrate.current_version(writer, where) is not None
                migrate.bring_current(writer, where, create=True)
        return not there
    finally:
        engine.dispose()
