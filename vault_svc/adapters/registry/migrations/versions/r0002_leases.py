"""Dynamic secrets: mappings, leases and tenants' lease tokens; never a value."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _bytes() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _tenant(**more: Any) -> sa.Column[Any]:
    owner = sa.ForeignKey("tenants.tenant_id")
    return sa.Column("tenant_id", _bytes(), owner, nullable=False, **more)


def _texts(names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names.split()]


def upgrade() -> None:
    """Add the three tables."""
    op.create_table(
        "lease_variables",
        _tenant(primary_key=True),
        sa.Column("variable", sa.Text(), primary_key=True),
        *_texts("path field params"),
    )
    op.create_table(
        "leases",
        sa.Column("key", sa.Text(), primary_key=True),
        _tenant(),
        *_texts("path params fields state accessor lease_id issued_at expires_at"),
        sa.Column("renewable", sa.Boolean(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('asked', 'issued', 'live', 'ending')", name="leases_state"),
    )
    op.create_index("leases_tenant", "leases", ["tenant_id"])
    op.create_table(
        "lease_tokens",
        sa.Column("accessor", sa.Text(), primary_key=True),
        _tenant(),
        sa.Column("live", sa.Boolean(), nullable=False),
        *_texts("renewed_at expires_at"),
    )
    op.create_index("lease_tokens_tenant", "lease_tokens", ["tenant_id"])
