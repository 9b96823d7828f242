"""The registry's tables (decisions 1, 11 and 19); they never leave this folder.

The definition that migrations and `statements.py` are held to by tests; no run imports it.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    Text,
    text,
)
from sqlalchemy.orm import registry as orm_registry
from sqlmodel import Field, SQLModel

# Byte order on every database, so that cursors and prefix ranges mean the same everywhere.
_BYTES: Final = Text().with_variant(Text(collation="C"), "postgresql")
_OPEN: Final = text("status <> 'offboarded'")
_BUCKET: Final = text("status <> 'offboarded' AND collection_id IS NOT NULL")


class Base(SQLModel, registry=orm_registry()):
    """Metadata of our own, apart from other users of SQLModel in this process."""


def _name(**more: Any) -> Any:
    return Field(sa_column=Column(_BYTES, nullable=False, **more))


def _text(*, null: bool = False) -> Any:
    return Field(sa_column=Column(Text, nullable=null))


def _number(*, null: bool = False) -> Any:
    return Field(sa_column=Column(BigInteger, nullable=null))


def _tenant_id(*, key: bool = False) -> Any:
    from sqlalchemy import ForeignKey

    owner = ForeignKey("tenants.tenant_id")
    return Field(sa_column=Column(_BYTES, owner, nullable=False, primary_key=key))


class TenantRow(Base, table=True):
    """One tenant, for good."""

    __tablename__ = "tenants"
    __table_args__ = (
        CheckConstraint(
            "status IN ('registered', 'active', 'suspended', 'offboarded')", name="tenants_status"
        ),
        Index(
            "tenants_jail", "host", "jail", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN
        ),
        Index(
            "tenants_collection",
            "source",
            "collection_id",
            unique=True,
            sqlite_where=_BUCKET,
            postgresql_where=_BUCKET,
        ),
        Index("tenants_root", "host", "jail_root"),
    )

    tenant_id: str = _name(primary_key=True)
    host: str = _text()
    engine: str = _text()
    jail: str = _text()
    jail_root: str = _name()
    source: str = _text()
    collection: str = _text()
    collection_id: str | None = _text(null=True)
    profile: str = _text()
    delivery: str = _text()
    mounts: str = _text()
    env_path: str = _text()
    owner_uid: int = _number()
    owner_gid: int = _number()
    tier: str = _text()
    status: str = _text()
    generation: int = _number()
    last_error: str | None = _text(null=True)
    created_at: str = _text()
    updated_at: str = _text()
    root_ino: int | None = _number(null=True)


class DeliveryRow(Base, table=True):
    """One receipt or removal; a higher id is newer."""

    __tablename__ = "deliveries"
    __table_args__ = (
        CheckConstraint("kind IN ('delivered', 'removed')", name="deliveries_kind"),
        Index("deliveries_tenant", "tenant_id", "id"),
    )

    id: int | None = Field(
        default=None,
        sa_column=Column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    )
    tenant_id: str = _tenant_id()
    kind: str = _text()
    generation: int = _number()
    path: str = _text()
    keys: str | None = _text(null=True)
    digest: str | None = _text(null=True)
    mode: int | None = _number(null=True)
    uid: int | None = _number(null=True)
    gid: int | None = _number(null=True)
    size: int | None = _number(null=True)
    changed: bool | None = None
    existed: bool | None = None
    at: str = _text()
    source_revision: str | None = _text(null=True)
    elapsed_ms: float | None = None
    parts: str | None = _text(null=True)


class IntentRow(Base, table=True):
    """What was announced and has no receipt yet; closing an intent deletes it."""

    __tablename__ = "intents"

    tenant_id: str = _tenant_id(key=True)
    generation: int = Field(
        sa_column=Column(BigInteger, primary_key=True, autoincrement=False, nullable=False)
    )
    digest: str = _text()
    keys: str = _text()
    at: str = _text()


class AuditHeadRow(Base, table=True):
    """The mirrored head of the audit log: one row, seq 0 while there is no log."""

    __tablename__ = "audit_head"
    __table_args__ = (CheckConstraint("id = 1", name="audit_head_single"),)

    id: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    seq: int = _number()
    mac: str = _text()


class LeaseVariableRow(Base, table=True):
    """One variable of a tenant that comes from a leased path."""

    __tablename__ = "lease_variables"

    tenant_id: str = _tenant_id(key=True)
    variable: str = Field(sa_column=Column(Text, primary_key=True, nullable=False))
    path: str = _text()
    field: str = _text()
    params: str = _text()


class LeaseRow(Base, table=True):
    """One lease, from before it is asked for until it is proven to be over."""

    __tablename__ = "leases"
    __table_args__ = (
        CheckConstraint("state IN ('asked', 'issued', 'live', 'ending')", name="leases_state"),
        Index("leases_tenant", "tenant_id"),
    )

    key: str = Field(sa_column=Column(Text, primary_key=True, nullable=False))
    tenant_id: str = _tenant_id()
    path: str = _text()
    params: str = _text()
    fields: str = _text()
    state: str = _text()
    accessor: str = _text()
    lease_id: str = _text()
    issued_at: str = _text()
    expires_at: str = _text()
    renewable: bool
    generation: int = _number()


class LeaseTokenRow(Base, table=True):
    """One tenant's periodic token by its accessor; the token itself is not here."""

    __tablename__ = "lease_tokens"
    __table_args__ = (Index("lease_tokens_tenant", "tenant_id"),)

    accessor: str = Field(sa_column=Column(Text, primary_key=True, nullable=False))
    tenant_id: str = _tenant_id()
    live: bool
    renewed_at: str = _text()
    expires_at: str = _text()
