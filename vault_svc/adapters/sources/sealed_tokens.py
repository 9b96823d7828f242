"""Tenants' lease tokens as age files of the embedded store, under names no collection can have.

The store's identity rotation re-encrypts every age file of its directory, so these too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Final

from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError

if TYPE_CHECKING:
    from vault_svc.adapters.sources.embedded_store import EmbeddedStore

_PREFIX: Final = "lease-token."
"""The full stop keeps it apart: no collection's name has one."""


class SealedFileTokens:
    """SealedTokens over the embedded store's directory."""

    def __init__(self, store: Callable[[], EmbeddedStore]) -> None:
        """Take what opens the store whose identity seals: few commands need it."""
        self._opened = store

    @cached_property
    def _store(self) -> EmbeddedStore:
        return self._opened()

    def put(self, tenant_id: str, accessor: str, token: SecretValue) -> None:
        """Keep a tenant's token, durably, in place of the one before."""
        whole = json.dumps({"version": 1, "accessor": accessor, "token": token.reveal()})
        with self._store.writing() as parent:
            self._store.seal(parent, _PREFIX + tenant_id, whole.encode())

    def get(self, tenant_id: str, accessor: str) -> SecretValue | None:
        """Return the token of this accessor; None if it is not there or cannot be opened.

        A token that is lost so is ended by its accessor, and another is minted.
        """
        try:
            with self._store.reading() as parent:
                kept = json.loads(self._store.unseal(parent, _PREFIX + tenant_id))
            if kept["accessor"] != accessor:
                return None
            return SecretValue(kept["token"])
        except (ColibriError, ValueError, KeyError, TypeError):
            return None

    def drop(self, tenant_id: str) -> None:
        """Remove a tenant's token; removing what is not there is done already."""
        self._store.remove(_PREFIX + tenant_id)
