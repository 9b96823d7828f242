"""Host-side credentials, by URI: `keyring:SERVICE/NAME`, `systemd:NAME`, `file:PATH`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from vault_svc.domain.secret import SecretValue


class CredentialStore(Protocol):
    """Reads and replaces credentials; a credential is one blob of text."""

    def get(self, uri: str) -> SecretValue:
        """Return the credential; raise `credential_missing`, `credential_unsafe` or `usage`."""
        ...

    def put(self, uri: str, value: SecretValue) -> None:
        """Replace the credential in one durable step; raise `credential_unsafe` or `read_only`."""
        ...

    def exists(self, uri: str) -> bool:
        """Say whether there is one, without reading it."""
        ...

    def delete(self, uri: str) -> None:
        """Remove the credential; removing what is not there is done already."""
        ...


class HostKeys(Protocol):
    """Keyed digests under the host key; the key itself never leaves the adapter."""

    @property
    def current(self) -> str:
        """The id of the key that new digests are made with."""
        ...

    def digest(self, tenant_id: str, content: bytes, *, key_id: str | None = None) -> str:
        """Return `KEYID:hex` of delivered bytes, so that the registry never helps a guesser.

        With key_id an older key is used; an unknown one raises `credential_missing`.
        """
        ...

    def chain(self, previous: str, line: bytes, *, key_id: str | None = None) -> str:
        """Return the audit chain value (hex) of line after the chain value previous."""
        ...

    def replace_lost(self, used: Collection[str]) -> str:
        """Make a first key where none can be read, under an id that used does not have.

        Returns the id. Raises `usage` when there are keys: those are rotated, not replaced.
        """
        ...

    def rotate(self) -> tuple[str, str]:
        """Add a new current key, keep the old for verification; return (old id, new id)."""
        ...
