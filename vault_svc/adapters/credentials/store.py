"""Credentials by URI: a dict from scheme to class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from vault_svc.adapters.credentials.file import FileCredentials
from vault_svc.adapters.credentials.keyring import KeyringCredentials
from vault_svc.adapters.credentials.systemd import SYSTEMD_MODES, SystemdCredentials
from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError, printable
from vault_svc.hazmat.memory import protect_process


class _Scheme(Protocol):
    def get(self, rest: str) -> SecretValue: ...
    def put(self, rest: str, value: SecretValue) -> None: ...
    def exists(self, rest: str) -> bool: ...
    def delete(self, rest: str) -> None: ...


class UriCredentials:
    """The `CredentialStore` port over every scheme we know."""

    def __init__(self, schemes: Mapping[str, _Scheme] | None = None) -> None:
        """Take the schemes, by default `file`, `systemd` and `keyring`; protect the process.

        At once, because values typed or piped in by the operator come before any credential.
        """
        protect_process()
        self._schemes = schemes if schemes is not None else _all_schemes()

    def get(self, uri: str) -> SecretValue:
        """Return the credential."""
        scheme, rest = self._scheme(uri)
        return scheme.get(rest)

    def put(self, uri: str, value: SecretValue) -> None:
        """Replace the credential in one durable step."""
        scheme, rest = self._scheme(uri)
        scheme.put(rest, value)

    def exists(self, uri: str) -> bool:
        """Say whether there is one."""
        scheme, rest = self._scheme(uri)
        return scheme.exists(rest)

    def delete(self, uri: str) -> None:
        """Remove the credential."""
        scheme, rest = self._scheme(uri)
        scheme.delete(rest)

    def _scheme(self, uri: str) -> tuple[_Scheme, str]:
        name, colon, rest = uri.partition(":")
        if not colon or name not in self._schemes:
            # The URI itself is not shown: somebody may have typed the secret in its place.
            known = ", ".join(f"{scheme}:" for scheme in sorted(self._schemes))
            named = f"the scheme '{printable(name[:16])}:'" if colon else "no scheme"
            raise ColibriError("usage", f"a credential URI with {named}", hint=f"use {known}")
        return self._schemes[name], rest


def _all_schemes() -> dict[str, _Scheme]:
    return {
        "file": FileCredentials(),
        "systemd": SystemdCredentials(FileCredentials(modes=SYSTEMD_MODES)),
        "keyring": KeyringCredentials(),
    }
