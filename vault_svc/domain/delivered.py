"""The ways a tenant's secrets stand in its jail, chosen at registration (decision 1).

`file` is one `.env`; `files` is a directory with one file per secret.
"""

from __future__ import annotations

from typing import Final

from vault_svc.domain import dotenv, files
from vault_svc.domain.secret import SecretSet
from vault_svc.domain.tenant import Tenant

FILE: Final = "file"
FILES: Final = "files"
MODES: Final = {FILE: 0o600, FILES: 0o400}
"""Mode of each delivered file."""
DEFAULT_PATHS: Final = {FILE: "/.env", FILES: "/secrets"}
"""Where they stand in a jail unless the operator says otherwise."""


def render(tenant: Tenant, values: SecretSet, allowed: frozenset[str]) -> bytes:
    """Return what is to stand in the jail as one run of bytes; raise what cannot be carried."""
    if tenant.delivery == FILES:
        return files.render(values, allowed=allowed)
    return dotenv.render(values, tenant.profile, allowed=allowed)


def values_of(tenant: Tenant, content: bytes) -> dict[str, str]:
    """Return the variables of bytes that `render` made; raise `internal` for others."""
    return files.parse_own(content) if tenant.delivery == FILES else dotenv.parse_own(content)


def warnings(tenant: Tenant, values: SecretSet) -> tuple[str, ...]:
    """Return what is right for the promised readers and not for others, a line each."""
    return () if tenant.delivery == FILES else dotenv.warnings(values, tenant.profile)


def size(tenant: Tenant, content: bytes) -> int:
    """Return how many bytes stand in the jail."""
    if tenant.delivery == FILES:
        return sum(map(len, files.unpack(content).values()))
    return len(content)
