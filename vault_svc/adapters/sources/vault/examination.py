"""`source doctor`: everything a read needs, looked at one by one; nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from vault_svc.adapters.sources.vault.client import Health
from vault_svc.adapters.sources.vault.places import ORCHESTRATOR_POLICY
from vault_svc.adapters.sources.vault.session import refuse_unfit
from vault_svc.domain.check import Check
from vault_svc.domain.secret import CollectionRef
from vault_svc.errors import ColibriError, printable
from vault_svc.ports.source_admin import Document

if TYPE_CHECKING:
    from vault_svc.adapters.sources.vault.account import Account
    from vault_svc.adapters.sources.vault.admin import VaultAdmin

_SHOWN: Final = 5
_POLICIES: Final = "colibri source policies vault --check"

Found = TypeVar("Found")


def examine(
    admin: VaultAdmin, left: Collection[str]
) -> tuple[list[Check], tuple[CollectionRef, ...] | None]:
    """Return every check, and the collections where they could be read."""
    checks: list[Check] = []
    account = _try(checks, "account", admin.stored, lambda a: f"{a.method} at {a.server}")
    if account is None:
        return checks, None
    checks.append(_transport(account))
    circuit = _circuit(admin)
    checks.append(circuit)
    if _try(checks, "server", lambda: _health(admin, account), _said) is None:
        return checks, None
    if circuit.state == "fail":  # a refused account is not tried again, not even to look
        return checks, None
    refs = _try(
        checks,
        "collections",
        lambda: admin.collections(account),
        lambda found: f"{len(found)} in {account.mount}/{account.folder}",
    )
    if refs is None:
        return checks, None
    checks += [_apart(admin, refs), _policies(admin, refs, left)]
    return checks, refs


def _try(
    checks: list[Check], name: str, look: Callable[[], Found], said: Callable[[Found], str]
) -> Found | None:
    try:
        found = look()
    except ColibriError as error:
        checks.append(Check(name, "fail", error.message, error.hint, error.code))
        return None
    checks.append(Check(name, "ok", said(found)))
    return found


def _transport(account: Account) -> Check:
    if account.server.startswith("https:"):
        seen = "the login's own authority alone" if account.ca else "this host's authorities"
        return Check("tls", "ok", f"trusted: {seen}")
    return Check("tls", "warn", "none: fit for a server on this very host", "use https elsewhere")


def _circuit(admin: VaultAdmin) -> Check:
    state = admin.sessions.circuit.state()
    if not state:
        return Check("circuit", "ok", "closed")
    return Check("circuit", "fail", state, "colibri source test vault", "source_auth_failed")


def _health(admin: VaultAdmin, account: Account) -> Health:
    with admin.sessions.bare(account) as client:
        health = client.health()
    refuse_unfit(health)
    if account.cluster_id and health.cluster_id not in {"", account.cluster_id}:
        raise ColibriError(
            "server_mismatch",
            "another cluster answers than at the login",
            hint="if that is meant, colibri source login vault again",
        )
    return health


def _said(health: Health) -> str:
    standby = ", a standby" if health.standby else ""
    return f"version {printable(health.version)}, unsealed{standby}"


def _apart(admin: VaultAdmin, refs: Sequence[CollectionRef]) -> Check:
    """See with our own token that it can read no tenant's values: the server must refuse."""
    name = "orchestrator's reach"
    if not refs:
        return Check(name, "ok", "no collection to try")
    try:
        more = admin.policies_beside_ours()
        readable = admin.reads_itself(refs[0].name)
    except ColibriError as error:
        return Check(name, "fail", error.message, error.hint, error.code)
    if readable:
        return Check(
            name,
            "fail",
            f"colibri's own token may read collection '{refs[0].name}'",
            "take the right away: only tenants' tokens read values",
            "source_forbidden",
        )
    if more:
        return Check(
            name,
            "warn",
            f"reads no tenant's values, but has other policies too: {', '.join(more[:_SHOWN])}",
            f"give it '{ORCHESTRATOR_POLICY}' alone, with token_no_default_policy",
        )
    return Check(name, "ok", "reads no tenant's values by itself")


def _policies(admin: VaultAdmin, refs: Sequence[CollectionRef], left: Collection[str]) -> Check:
    try:
        found: Sequence[Document] = admin.compared([ref.name for ref in refs], left, {}, None)
    except ColibriError as error:
        return Check("policies", "fail", error.message, error.hint, error.code)
    wrong = [each.name for each in found if each.state != "same"]
    if not wrong:
        return Check("policies", "ok", f"{len(found)} as colibri renders them")
    more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    seen = f"{len(wrong)} differ or are missing: {', '.join(wrong[:_SHOWN])}{more}"
    return Check("policies", "fail", seen, _POLICIES, "drift")
