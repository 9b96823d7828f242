"""`source doctor`: everything a read needs, looked at one by one; nothing is changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from vault_svc.adapters.sources.vaultwarden import answers, appdata, helper, server
from vault_svc.adapters.sources.vaultwarden.account import Account
from vault_svc.adapters.sources.vaultwarden.answers import Content
from vault_svc.domain.check import Check
from vault_svc.domain.secret import CollectionRef
from vault_svc.errors import ColibriError, printable
from vault_svc.hazmat import scratchdir

if TYPE_CHECKING:
    from vault_svc.adapters.sources.vaultwarden.admin import VaultwardenAdmin

# Server and CLI that the live suite ran together.
_KNOWN_PAIRS: Final = frozenset(
    {("Vaultwarden", "1.37.2", "2026.8.0"), ("Vaultwarden", "1.37.2", "2026.9.0")}
)
_ROLES: Final = {0: "owner", 1: "admin", 2: "user", 3: "manager", 4: "custom"}
_SHOWN: Final = 5

Found = TypeVar("Found")


def examine(admin: VaultwardenAdmin) -> tuple[list[Check], tuple[CollectionRef, ...] | None]:
    """Return every check, and the collections where they could be read."""
    checks: list[Check] = []
    account = _try(checks, "account", admin.stored, lambda a: f"{a.client_id} at {a.server}")
    if account is None:
        return checks, None
    checks.append(_place(admin))
    circuit = _circuit(admin)
    checks.append(circuit)
    options = admin.options
    _try(
        checks,
        "bw",
        lambda: helper.verify(account.helper, untested_version=options.untested_version),
        lambda _: f"{account.helper.version}, as recorded at login",
    )
    found = _try(
        checks,
        "server",
        lambda: server.ask(account.server, account.ca, options.timeout_seconds),
        lambda s: f"{printable(s.name)} {printable(s.version)}, TLS trusted",
    )
    if found is not None:
        checks.append(_pair(found, account))
    if circuit.state == "fail":  # a refused account is not tried again, not even to look
        return checks, None
    content = _try(
        checks,
        "organisation",
        lambda: admin.collections_of(account, account.organization_id),
        lambda c: f"{printable(c.organization_name)}, {len(c.collections)} collections",
    )
    if content is None:
        return checks, None
    checks += [_role(content), _others(content), _rights(content), _passwords(content)]
    checks.append(_broken(content))
    return checks, content.collections


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


def _place(admin: VaultwardenAdmin) -> Check:
    place = appdata.places(admin.options)[0]
    if scratchdir.in_memory(place):
        return Check("private directory", "ok", f"{place}, in memory")
    return Check(
        "private directory",
        "warn",
        f"{place}, on a disk: what bw stores there is deleted, not erased",
        "mount a tmpfs and name it with the setting bw_runtime_dir",
    )


def _circuit(admin: VaultwardenAdmin) -> Check:
    state = admin.breaker.state()
    if not state:
        return Check("circuit", "ok", "closed")
    return Check("circuit", "fail", state, "colibri source test vaultwarden", "source_auth_failed")


def _pair(found: server.Server, account: Account) -> Check:
    pair = (found.name, found.version, account.helper.version)
    if pair in _KNOWN_PAIRS:
        return Check("server and bw", "ok", "known to work together")
    return Check("server and bw", "warn", "this pair is not known to colibri's live suite")


def _role(content: Content) -> Check:
    role = _ROLES.get(content.role, f"number {content.role}")
    if content.role == answers.USER:
        return Check("role", "ok", role)
    return Check(
        "role", "warn", f"{role}: it may do more than read", "make the account an ordinary user"
    )


def _others(content: Content) -> Check:
    if not content.others:
        return Check("memberships", "ok", "this organisation alone")
    return Check(
        "memberships",
        "warn",
        f"{content.others} more: their owners decide what bw has to read and decrypt here",
        "leave the other organisations: the account is for this one",
    )


def _rights(content: Content) -> Check:
    if not content.writable:
        return Check("rights", "ok", "reads only")
    return Check(
        "rights",
        "warn",
        f"may write in {len(content.writable)} collections: {_some(content.writable)}",
        "give the account read-only access",
    )


def _passwords(content: Content) -> Check:
    if not content.hiding:
        return Check("passwords", "ok", "visible to the account")
    return Check(
        "passwords",
        "fail",
        f"hidden in {len(content.hiding)} collections: {_some(content.hiding)}",
        "let the account view passwords there",
        "source_forbidden",
    )


def _broken(content: Content) -> Check:
    if not content.broken:
        return Check("decryption", "ok", "every collection's name")
    first = next(iter(content.broken.values()))
    return Check(
        "decryption",
        "fail",
        f"{len(content.broken)} collections are not whole: {first.message}",
        first.hint,
        first.code,
    )


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(printable(name[:64]) for name in names[:_SHOWN]) + more
