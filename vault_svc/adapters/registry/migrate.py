"""Brings a schema to the current version; Alembic is imported only if there is something to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, text

from vault_svc.adapters.registry import faults
from vault_svc.adapters.registry.reader import VERSION_SQL
from vault_svc.adapters.registry.schema import APPLICATION_ID, SCHEMA_VERSION
from vault_svc.errors import not_initialised

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

_SCRIPTS: Final = Path(__file__).with_name("migrations")
# Any number that nothing else in the database takes a lock under.
_ADVISORY: Final = APPLICATION_ID


def bring_current(connection: Connection, where: str, *, create: bool = False) -> None:
    """Migrate in the caller's transaction, which must be a writing one.

    Raises `registry_newer`, `registry_corrupt` (somebody else's database), and `usage` for a
    database without a registry unless create.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _ADVISORY})
    version = current_version(connection, where)
    if version == SCHEMA_VERSION:
        return
    if version is None and inspect(connection).get_table_names():
        raise faults.corrupt(where, "this database holds something else than colibri's registry")
    if version is None and not create:
        raise not_initialised(where)
    _upgrade(connection)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")


def current_version(connection: Connection, where: str) -> int | None:
    """Return the schema's version, None where there is none; raise `registry_newer`."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.execute(text(VERSION_SQL)).first()
    if row is None or not str(row[0]).isdecimal():
        raise faults.corrupt(where, "its schema has no version of ours")
    version = int(row[0])
    if version > SCHEMA_VERSION:
        raise faults.newer(where, str(version))
    return version


def configuration() -> Config:
    """Return Alembic's configuration, which needs no file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("version_path_separator", "os")
    return config


def _upgrade(connection: Connection) -> None:
    from alembic import command

    config = configuration()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
