"""What a server answers to those who lease: checked before any of it is believed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from vault_svc.adapters.sources.vault.places import LEASE_ROLE
from vault_svc.adapters.sources.vault.wire import incomplete, is_token, part
from vault_svc.domain.lease import Request
from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError
from vault_svc.hazmat import certificates
from vault_svc.ports.lease_source import Grant, Issued

_CENTURY: Final = 100 * 366 * 86_400
_CERTIFICATES: Final = ("certificate", "signed_key")
"""Fields of the PKI and SSH engines that say themselves until when they are good."""


def granted(answer: dict[str, Any], policy: str) -> Grant:
    """Return a tenant's new token; raise `source_forbidden` for one that can do more or other."""
    auth = part(answer, "auth")
    token, accessor = auth.get("client_token"), auth.get("accessor")
    if not (is_token(token) and isinstance(accessor, str) and accessor):
        raise incomplete("the answer to a tenant's lease token has none in it")
    as_asked = auth.get("policies") == [policy] and auth.get("renewable") is True
    if not as_asked or auth.get("orphan") is not True:
        raise ColibriError(
            "source_forbidden",
            f"the token role '{LEASE_ROLE}' makes other tokens than were asked for",
            hint="colibri source policies vault --check",
        )
    return Grant(
        accessor, SecretValue(str(token)), number(auth.get("lease_duration"), "a token's period")
    )


def issued(answer: dict[str, Any], request: Request) -> Issued:
    """Return the asked fields of a lease, or why it cannot be used: it has to be ended then.

    Raises `lease_missing` for what has neither lease nor certificate, and as `number`.
    """
    data = answer.get("data")
    if not isinstance(data, dict):
        raise incomplete(f"the answer to '{request.path}' has no data in it")
    lease_id = answer.get("lease_id")
    has_lease = isinstance(lease_id, str) and bool(lease_id)
    if has_lease:
        seconds = number(answer.get("lease_duration"), "a lease's life")
    else:
        seconds = _until_not_after(data, request)
    renewable = has_lease and bool(answer.get("renewable"))
    try:
        values = {variable: _text(data, field, request) for variable, field in request.fields}
    except ColibriError as error:
        return Issued(str(lease_id or ""), {}, seconds, renewable, refused=error)
    return Issued(str(lease_id or ""), values, seconds, renewable)


def number(found: object, what: str) -> float:
    """Return seconds; raise `source_incomplete` for what is no life a thing could have."""
    if isinstance(found, int | float) and not isinstance(found, bool) and 0 < found <= _CENTURY:
        return float(found)  # NaN is in no range
    raise incomplete(f"{what} is no number of seconds")


def _text(data: dict[str, Any], field: str, request: Request) -> SecretValue:
    if field not in data:
        raise ColibriError(
            "secret_missing",
            f"'{request.path}' has no field '{field}'",
            hint="it has: " + ", ".join(sorted(str(name)[:64] for name in data)[:12]),
        )
    value = data[field]
    if not isinstance(value, str):
        raise ColibriError(
            "secret_value_unrepresentable",
            f"field '{field}' of '{request.path}' is no string",
            hint="map another field",
        )
    return SecretValue(value)


def _until_not_after(data: dict[str, Any], request: Request) -> float:
    for name in _CERTIFICATES:
        text = data.get(name)
        if isinstance(text, str):
            end = certificates.not_after(text)
            if end is not None:
                return number((end - datetime.now(UTC)).total_seconds(), "a certificate's life")
    raise ColibriError(
        "lease_missing",
        f"what '{request.path}' gives has no lease and is no certificate: it would never end",
        hint="put it in the tenant's collection instead",
    )
