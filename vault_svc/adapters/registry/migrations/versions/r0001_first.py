"""The first schema: tenants, deliveries, intents, the audit log's head."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_OPEN = sa.text("status <> 'offboarded'")
_BUCKET = sa.text("status <> 'offboarded' AND collection_id IS NOT NULL")


def _bytes() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _columns(kind: Any, names: str, *, null: bool = False) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind(), nullable=null) for name in names.split()]


def upgrade() -> None:
    """Make everything."""
    _tenants()
    _deliveries()
    op.create_table(
        "intents",
        sa.Column("tenant_id", _bytes(), sa.ForeignKey("tenants.tenant_id"), primary_key=True),
        sa.Column("generation", sa.BigInteger(), primary_key=True, autoincrement=False),
        *_columns(sa.Text, "digest keys at"),
    )
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("mac", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name="audit_head_single"),
    )
    op.bulk_insert(head, [{"id": 1, "seq": 0, "mac": ""}])


def _tenants() -> None:
    op.create_table(
        "tenants",
        sa.Column("tenant_id", _bytes(), primary_key=True),
        *_columns(sa.Text, "host engine jail"),
        sa.Column("jail_root", _bytes(), nullable=False),
        *_columns(sa.Text, "source collection"),
        *_columns(sa.Text, "collection_id", null=True),
        *_columns(sa.Text, "profile delivery mounts env_path"),
        *_columns(sa.BigInteger, "owner_uid owner_gid"),
        *_columns(sa.Text, "tier status"),
        *_columns(sa.BigInteger, "generation"),
        *_columns(sa.Text, "last_error", null=True),
        *_columns(sa.Text, "created_at updated_at"),
        *_columns(sa.BigInteger, "root_ino", null=True),
        sa.CheckConstraint(
            "status IN ('registered', 'active', 'suspended', 'offboarded')", name="tenants_status"
        ),
    )
    for name, columns, where in (
        ("tenants_jail", ["host", "jail"], _OPEN),
        ("tenants_collection", ["source", "collection_id"], _BUCKET),
    ):
        op.create_index(
            name, "tenants", columns, unique=True, sqlite_where=where, postgresql_where=where
        )
    op.create_index("tenants_root", "tenants", ["host", "jail_root"])


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("tenant_id", _bytes(), sa.ForeignKey("tenants.tenant_id"), nullable=False),
        *_columns(sa.Text, "kind"),
        *_columns(sa.BigInteger, "generation"),
        *_columns(sa.Text, "path"),
        *_columns(sa.Text, "keys digest", null=True),
        *_columns(sa.BigInteger, "mode uid gid size", null=True),
        *_columns(sa.Boolean, "changed existed", null=True),
        *_columns(sa.Text, "at"),
        *_columns(sa.Text, "source_revision", null=True),
        *_columns(sa.Float, "elapsed_ms", null=True),
        sa.CheckConstraint("kind IN ('delivered', 'removed')", name="deliveries_kind"),
    )
    op.create_index("deliveries_tenant", "deliveries", ["tenant_id", "id"])
