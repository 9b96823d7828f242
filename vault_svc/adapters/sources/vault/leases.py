"""Leases at Vault or OpenBao: read under a tenant's own periodic token, ended by ours.

The orchestrator may mint that token through a role, look leases and tokens up and end them; it
may read no leased path itself, so every account a database is asked for is asked for by a token
that can read one tenant's paths and nothing else (decision 19).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, TypeVar

from hvac.api.auth_methods import Token
from hvac.api.system_backend import Lease as LeaseApi
from hvac.api.system_backend import Policies

from vault_svc.adapters.sources.vault import failures
from vault_svc.adapters.sources.vault.account import Account
from vault_svc.adapters.sources.vault.client import Client
from vault_svc.adapters.sources.vault.lease_answers import granted, issued, number
from vault_svc.adapters.sources.vault.places import LEASE_ROLE, lease_policy_of
from vault_svc.adapters.sources.vault.refusal import Refusal
from vault_svc.adapters.sources.vault.session import Session, Sessions
from vault_svc.adapters.sources.vault.wire import part
from vault_svc.domain.lease import Request
from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError
from vault_svc.ports.lease_source import Grant, Issued, Renewed

_ITS_OWN_TROUBLE: Final = 500
_HINT: Final = "see the runbook dynamic-secrets.md"

Answer = TypeVar("Answer")


class VaultLeases:
    """LeaseSource over one server; logs in when first asked, and out when the stack is closed."""

    def __init__(
        self, account: Callable[[], Account], sessions: Sessions, closing: ExitStack
    ) -> None:
        """Take the account, how to log in, and what is closed at the end of the run."""
        self._account = account
        self._sessions = sessions
        self._closing = closing
        self._opened: Session | None = None

    def grant(self, tenant_id: str) -> Grant:
        """Mint a tenant's periodic token; raise `source_forbidden` where role or policy is not."""
        policy = lease_policy_of(tenant_id)

        def mint(client: Client) -> Grant:
            with _as_orchestrator("mint a tenant's lease token"):
                made = Token(client.wire).create(
                    role_name=LEASE_ROLE,
                    policies=[policy],
                    renewable=True,
                    no_default_policy=True,
                    display_name=tenant_id,
                )
            return granted(made, policy)

        try:
            return self._session.call(mint)
        except Refusal as refusal:
            raise failures.of_orchestrator(refusal, "mint a tenant's lease token") from None

    def renew_token(self, token: SecretValue) -> float | None:
        """Renew a tenant's token; return its seconds, None for one that is dead."""
        try:
            answer = self._as_tenant(token, lambda client: Token(client.wire).renew_self())
        except Refusal:
            return None
        return number(part(answer, "auth").get("lease_duration"), "a token's period")

    def issue(self, token: SecretValue, request: Request) -> Issued:
        """Ask for a lease; what the server says no to made none."""

        def ask(client: Client) -> dict[str, Any]:
            place = f"/v1/{request.path}"
            if request.params:
                return dict(client.wire.post(place, json=dict(request.params)))
            return dict(client.wire.get(place))

        try:
            return issued(self._as_tenant(token, ask), request)
        except Refusal as refusal:
            raise _not_issued(refusal, request) from None

    def renew(self, token: SecretValue, lease_id: str, seconds: float) -> Renewed | None:
        """Renew a lease by seconds; None where the server refuses to."""

        def ask(client: Client) -> dict[str, Any]:
            return dict(LeaseApi(client.wire).renew_lease(lease_id, increment=int(seconds)))

        try:
            answer = self._as_tenant(token, ask)
        except Refusal as refusal:
            if refusal.status >= _ITS_OWN_TROUBLE:
                raise _trouble("renew a lease") from None
            return None
        left = number(answer.get("lease_duration"), "a lease's life")
        return Renewed(left, bool(answer.get("renewable")))

    def is_alive(self, lease_id: str) -> bool:
        """Look a lease up, by the orchestrator's token."""
        return self._is_there(
            "look a lease up", lambda client: LeaseApi(client.wire).read_lease(lease_id)
        )

    def end(self, lease_id: str) -> None:
        """End a lease, and wait for it: the account is gone when this returns."""
        doing, body = "end a lease", {"lease_id": lease_id, "sync": True}
        try:
            # By hand: hvac's own leaves out `sync`, and the server would do it some time later.
            self._asked(doing, lambda client: client.wire.put("/v1/sys/leases/revoke", json=body))
        except Refusal as refusal:
            if failures.is_denied(refusal):
                raise failures.of_orchestrator(refusal, doing) from None
            raise _trouble(doing) from None  # what is over already is no refusal

    def is_token_alive(self, accessor: str) -> bool:
        """Look a token up by its accessor."""
        return self._is_there(
            "look a tenant's token up", lambda client: Token(client.wire).lookup_accessor(accessor)
        )

    def end_token(self, accessor: str) -> None:
        """End a token by its accessor."""
        self._done(
            "end a tenant's token", lambda client: Token(client.wire).revoke_accessor(accessor)
        )

    def close(self, tenant_id: str) -> None:
        """Delete a tenant's lease policy; deleting what is not there is done already."""
        name = lease_policy_of(tenant_id)
        self._done(
            "delete a tenant's lease policy",
            lambda client: Policies(client.wire).delete_acl_policy(name),
        )

    @property
    def _session(self) -> Session:
        if self._opened is None:
            self._opened = self._closing.enter_context(self._sessions.open(self._account()))
        return self._opened

    def _is_there(self, doing: str, ask: Callable[[Client], Any]) -> bool:
        """Say whether a look-up finds what it asks for: the server's 400 is its no."""
        try:
            self._asked(doing, ask)
        except Refusal as refusal:
            if failures.is_invalid(refusal) or failures.is_missing(refusal):
                return False
            raise failures.of_orchestrator(refusal, doing) from None
        return True

    def _done(self, doing: str, ask: Callable[[Client], Any]) -> None:
        try:
            self._asked(doing, ask)
        except Refusal as refusal:
            if refusal.status >= _ITS_OWN_TROUBLE:
                raise _trouble(doing) from None
            if not (failures.is_invalid(refusal) or failures.is_missing(refusal)):
                raise failures.of_orchestrator(refusal, doing) from None

    def _asked(self, doing: str, ask: Callable[[Client], Answer]) -> Answer:
        def by_orchestrator(client: Client) -> Answer | Refusal:
            try:
                return ask(client)
            except Refusal as refusal:
                if failures.is_denied(refusal):
                    refusal.doing = doing
                return _returned(refusal)

        return _unpacked(self._session.call(by_orchestrator))

    def _as_tenant(
        self, token: SecretValue, ask: Callable[[Client], dict[str, Any]]
    ) -> dict[str, Any]:
        def by_tenant(client: Client) -> dict[str, Any] | Refusal:
            try:
                return ask(client.with_token(token.reveal()))
            except Refusal as refusal:
                return _returned(refusal)

        return _unpacked(self._session.call(by_tenant))


def _returned(refusal: Refusal) -> Refusal:
    """Hand a refusal past the governor, whose patience is for a server that is down as a whole.

    A database behind the server that fails (500) is one tenant's trouble: no other waits for it.
    """
    of_this_request = failures.of_server(refusal) is None and not refusal.doing
    if of_this_request or refusal.status == _ITS_OWN_TROUBLE:
        return refusal
    raise refusal


def _unpacked(answer: Answer | Refusal) -> Answer:
    if isinstance(answer, Refusal):
        raise answer
    return answer


def _not_issued(refusal: Refusal, request: Request) -> ColibriError:
    if failures.is_denied(refusal):
        return ColibriError(
            "source_forbidden",
            f"the tenant's lease policy does not let '{request.path}' be read",
            hint="colibri source policies vault --check",
        )
    if failures.is_missing(refusal) or failures.is_invalid(refusal) or "no_route" in refusal.words:
        return ColibriError(
            "lease_refused",
            f"the server has no role '{request.path}', or it wants other parameters",
            hint="check the path, and --param of colibri lease add",
        )
    if refusal.status >= _ITS_OWN_TROUBLE:
        return ColibriError(
            "lease_refused",
            f"the server could not make a lease of '{request.path}'",
            hint="look at what is behind it, for example the database; " + _HINT,
        )
    return failures.of_server(refusal) or ColibriError(
        "lease_refused", f"the server refused '{request.path}'", hint=_HINT
    )


def _trouble(doing: str) -> ColibriError:
    return ColibriError(
        "source_unreachable",
        f"the server could not {doing}: what is behind it does not answer",
        hint="look at that, for example the database, and run it again",
    )


@contextmanager
def _as_orchestrator(doing: str) -> Iterator[None]:
    """Say in a refusal what the orchestrator was doing."""
    try:
        yield
    except Refusal as refusal:
        refusal.doing = doing
        raise
