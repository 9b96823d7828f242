"""What a server's refusal means, as an error a person can act on."""

from __future__ import annotations

from typing import Final

from vault_svc.adapters.sources.vault.refusal import Refusal
from vault_svc.errors import ColibriError

SEALED: Final = "see the runbook vault-sealed.md"
_LOGIN: Final = "mend the account, then colibri source test vault, or source login again"
_POLICIES: Final = "colibri source policies vault --check"
_REDIRECTS: Final = range(300, 400)
_BAD, _DENIED, _MISSING, _BEHIND, _SLOW = 400, 403, 404, 412, 429
_DR_SECONDARY, _STANDBY = 472, 473
_SERVER: Final = 500


def of_server(refusal: Refusal) -> ColibriError | None:
    """Return what is wrong with the server as a whole, or None: then it is this request."""
    if "uninitialised" in refusal.words:
        return ColibriError(
            "source_sealed", "the server is not initialised", hint="see the runbook vault-setup.md"
        )
    if "sealed" in refusal.words:
        return ColibriError("source_sealed", "the server is sealed", hint=SEALED)
    if refusal.status == _SLOW:
        return ColibriError(
            "source_rate_limited",
            "the server asks to slow down",
            hint="run it again later; nothing was changed",
        )
    return _of_its_place(refusal)


def _of_its_place(refusal: Refusal) -> ColibriError | None:
    what = ""
    if refusal.status == _BEHIND:
        return ColibriError(
            "source_incomplete",
            "the replica that answered is behind",
            hint="run it again, or log in at the active node's address; nothing was changed",
        )
    if "no_leader" in refusal.words:
        what = "the server is between two leaders"
    elif refusal.status in _REDIRECTS or refusal.status == _STANDBY:
        what = "a standby answers, and its leader is at another address"
    elif refusal.status == _DR_SECONDARY:
        what = "this is a disaster recovery secondary, which serves no secrets"
    elif refusal.status >= _SERVER:
        what = f"the server answers with status {refusal.status}"
    return ColibriError("source_unreachable", what, hint=SEALED) if what else None


def of_login(refusal: Refusal, method: str) -> ColibriError:
    """Return why a login failed."""
    if error := of_server(refusal):
        return error
    if refusal.status == _MISSING:
        return ColibriError(
            "source_auth_failed",
            f"the server has no auth method there for '{method}'",
            hint="check --auth, --auth-mount and --namespace of the login",
        )
    return ColibriError(
        "source_auth_failed", f"the server refused the login by '{method}'", hint=_LOGIN
    )


def of_orchestrator(refusal: Refusal, doing: str) -> ColibriError:
    """Return why the orchestrator's own request failed."""
    if error := of_server(refusal):
        return error
    if refusal.status == _DENIED:
        return ColibriError(
            "source_forbidden", f"the orchestrator's policy does not let it {doing}", hint=_POLICIES
        )
    if "no_route" in refusal.words:
        return ColibriError(
            "collection_not_found",
            f"the server has no mount where colibri wants to {doing}",
            hint="check --mount and --namespace of the login",
        )
    return ColibriError(
        "source_forbidden", f"the server would not let colibri {doing}", hint=_POLICIES
    )


def is_missing(refusal: Refusal) -> bool:
    """Say whether there is nothing at the path, in a mount that is there."""
    return refusal.status == _MISSING and not refusal.words & {"no_route", "versioned"}


def is_denied(refusal: Refusal) -> bool:
    """Say whether the token may not do it, or is none any more: the answer is the same."""
    return refusal.status == _DENIED


def is_invalid(refusal: Refusal) -> bool:
    """Say whether the server calls the request wrong."""
    return refusal.status == _BAD


def is_broken_path(refusal: Refusal) -> bool:
    """Say whether the server failed at this request, as it does at an entry it can't read."""
    return refusal.status == _SERVER and not refusal.words
