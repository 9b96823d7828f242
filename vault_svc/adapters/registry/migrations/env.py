"""Alembic's entry: one connection handed over by `migrate.py`, or SQL text for a dialect."""

from __future__ import annotations

from alembic import context

_given = context.config.attributes

if context.is_offline_mode():
    context.configure(dialect_name=_given["dialect"], literal_binds=True)
else:
    # The caller's transaction: version and tables change together, or not at all.
    context.configure(connection=_given["connection"])
with context.begin_transaction():
    context.run_migrations()
