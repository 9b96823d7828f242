"""How the orchestrator gets its token: AppRole, a token's file, a TLS certificate, a JWT."""

from __future__ import annotations

from typing import Any, Final

from hvac.api.auth_methods import AppRole, Kubernetes
from hvac.api.system_backend import Wrapping

from vault_svc.adapters.sources.vault import account as accounts
from vault_svc.adapters.sources.vault import failures
from vault_svc.adapters.sources.vault.account import Account
from vault_svc.adapters.sources.vault.refusal import Refusal
from vault_svc.adapters.sources.vault.wire import Wire, part
from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError
from vault_svc.ports.credential_store import CredentialStore

_STOLEN: Final = "ask for a new one; if it was used by nobody here, treat it as stolen"


def token_of(wire: Wire, account: Account, credentials: CredentialStore) -> str:
    """Return the token of a new login; raise `source_auth_failed` and what credentials raise."""
    if account.method == "token-file":
        return _from_file(account, credentials)
    try:
        return wire.get_login_token(_login(wire, account, credentials))
    except Refusal as refusal:
        raise failures.of_login(refusal, account.method) from None


def _login(wire: Wire, account: Account, credentials: CredentialStore) -> dict[str, Any]:
    mount: Final = account.auth_mount
    answer: dict[str, Any]
    if account.method == "approle":
        secret_id = account.secret_id.reveal()
        answer = AppRole(wire).login(
            account.role_id, secret_id=secret_id, use_token=False, mount_point=mount
        )
    elif account.method == "jwt":  # auth/jwt and auth/kubernetes take the same request
        jwt = _from_file(account, credentials)
        answer = Kubernetes(wire).login(account.role, jwt, use_token=False, mount_point=mount)
    else:
        # By hand: hvac's own would take certificate and authority from its arguments.
        answer = wire.post(f"/v1/auth/{mount}/login", json={"name": account.role})
    return answer


def _from_file(account: Account, credentials: CredentialStore) -> str:
    found = credentials.get(f"file:{account.auth_file}")
    return accounts.checked_secret(found, "token in that file")


def unwrapped_secret_id(wire: Wire, wrapped: SecretValue, auth_mount: str) -> SecretValue:
    """Return the secret id inside a wrapping token, which is used up by it.

    The token's origin is looked at first: a swapped one would carry somebody else's secret id.
    Raises `source_auth_failed`.
    """
    token = accounts.checked_secret(wrapped, "wrapped secret id")
    try:
        origin = wire.post("/v1/sys/wrapping/lookup", json={"token": token})
        path = str(part(origin, "data").get("creation_path"))
        if not (path.startswith(f"auth/{auth_mount}/role/") and path.endswith("/secret-id")):
            raise ColibriError(
                "source_auth_failed",
                "the wrapping token does not come from this AppRole's secret ids",
                hint=_STOLEN,
            )
        data = part(Wrapping(wire.with_token(token)).unwrap(), "data")
    except Refusal as refusal:
        raise _not_unwrapped(refusal) from None
    secret_id = data.get("secret_id")
    if not isinstance(secret_id, str) or not secret_id:
        raise ColibriError("source_auth_failed", "there is no secret id in it", hint=_STOLEN)
    return SecretValue(secret_id)


def _not_unwrapped(refusal: Refusal) -> ColibriError:
    return failures.of_server(refusal) or ColibriError(
        "source_auth_failed",
        "the wrapped secret id is not valid any more: it expired, or was unwrapped before",
        hint=_STOLEN,
    )
