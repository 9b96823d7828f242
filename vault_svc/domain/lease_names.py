"""What may be mapped: `VAR=PATH#FIELD`, and the paths that are never leased."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from vault_svc.domain import names
from vault_svc.domain.lease import LeasedVariable
from vault_svc.errors import ColibriError, printable

_PATH: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)+", re.ASCII)
_FIELD: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_PARAM: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_MAX_PATH: Final = 512
_MAX_PARAM: Final = 1024
_NEVER: Final = frozenset({"auth", "cubbyhole", "identity", "sys", "transit"})
"""Mounts of the server itself, and transit, which computes and leases nothing."""


def leased_variable(
    tenant_id: str, text: str, params: Sequence[str], *, allowed: frozenset[str] = frozenset()
) -> LeasedVariable:
    """Return the mapping that `VAR=PATH#FIELD` says; params are `name=value`.

    Raises `usage`, or `secret_name_refused` for the variable.
    """
    name, _, place = text.partition("=")
    path, _, field = place.partition("#")
    whole = _PATH.fullmatch(path) and _FIELD.fullmatch(field) and len(path) <= _MAX_PATH
    if not whole:
        raise ColibriError(
            "usage",
            f"'{printable(text[:80])}' is no mapping",
            hint="VAR=PATH#FIELD, for example DB_USER=database/creds/app#username",
        )
    if path.partition("/")[0] in _NEVER:
        raise ColibriError(
            "usage",
            f"'{path}' is no leased path: it belongs to the server, or gives no lease",
            hint="a role that gives credentials, for example database/creds/app",
        )
    names.variable(name, allowed=allowed)
    return LeasedVariable(tenant_id, name, path, field, tuple(sorted(map(_param, params))))


def _param(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if (
        value.endswith("*")
        or (value.startswith("*") and not value.startswith("*."))
        or "${" in value
    ):
        raise ColibriError(
            "usage",
            f"the value of parameter '{printable(name[:64])}' is a pattern in a server's policy",
            hint="a value without '*' at either end and without '${'; '*.' may begin a host name",
        )
    fits = _PARAM.fullmatch(name) and value.isprintable() and len(value) <= _MAX_PARAM
    if not sign or not fits:
        raise ColibriError(
            "usage",
            f"'{printable(name[:64])}' is no parameter",
            hint="NAME=VALUE, for example --param common_name=acme.example",
        )
    return name, value
