"""Deliveries of several files: each file's own digest, which tells which one drifted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; single files have none."""
    op.add_column("deliveries", sa.Column("parts", sa.Text(), nullable=True))
