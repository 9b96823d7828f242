"""Does a jail hold what the newest receipt says? Asked without a source and without a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vault_svc.domain import names
from vault_svc.domain.receipt import Intent, Receipt, Removal
from vault_svc.domain.tenant import Status, Tenant
from vault_svc.errors import ColibriError
from vault_svc.services import standing
from vault_svc.services.context import Context


def agrees(context: Context, row: Tenant, newest: Receipt | Removal | None) -> bool:
    """Compare the file with its receipt, under the key the receipt was made with."""
    if not isinstance(newest, Receipt):
        return False
    found = standing.look(
        context.delivery,
        row,
        context.agreed_root(row),
        newest.path,
        newest.keys,
        max_bytes=context.settings.max_env_bytes,
    )
    wanted = replace(newest, uid=row.owner_uid, gid=row.owner_gid)
    return not standing.drift(context.keys, row, found, wanted)


def delivered_revision(
    context: Context, row: Tenant, newest: Receipt | Removal | None, intents: Sequence[Intent]
) -> str:
    """Return the source's revision whose rendered bytes the jail holds, or "".

    Decision 11 without the values: file and receipt agree, no intent is open, and nothing that
    decides how that revision is rendered was changed since: the row is as the receipt left it,
    and the names are allowed still.
    """
    if not isinstance(newest, Receipt) or intents or row.status is not Status.ACTIVE:
        return ""
    if (newest.at, newest.path) != (row.updated_at, row.env_path) or not newest.keys:
        return ""
    try:
        for name in newest.keys:
            names.variable(name, allowed=context.settings.allowed_variables)
        return newest.source_revision if agrees(context, row, newest) else ""
    except ColibriError:
        return ""


def holds(context: Context, row: Tenant, newest: Receipt, intents: Sequence[Intent]) -> bool:
    """Say whether the jail verifiably holds what the newest receipt's revision rendered."""
    return bool(delivered_revision(context, row, newest, intents))
