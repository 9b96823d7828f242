"""The host keys: one credential blob that holds every key ever used, and which is current.

The blob is JSON: {"version": 1, "current": "k2", "keys": {"k1": "<64 hex>", "k2": "<64 hex>"}}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any, Final

from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError
from vault_svc.hazmat.hostkey import HostKey, fresh_key
from vault_svc.ports.credential_store import CredentialStore

_KEY_ID: Final = re.compile(r"k[1-9][0-9]{0,5}")
_KEY: Final = re.compile(r"[0-9a-f]{64}")
_HINT: Final = "see the runbook host-key-lost.md"


def fresh_host_key() -> SecretValue:
    """Return a new blob with one key."""
    return _blob("k1", {"k1": fresh_key()})


class StoredHostKeys:
    """HostKeys over a credential store; nothing is read before the first digest."""

    def __init__(self, store: CredentialStore, uri: str) -> None:
        """Take the store and the URI of the blob."""
        self._store = store
        self._uri = uri
        self._current = ""
        self._keys: dict[str, HostKey] = {}

    @property
    def current(self) -> str:
        """The id of the key that new digests are made with."""
        if not self._current:
            self._load()
        return self._current

    def digest(self, tenant_id: str, content: bytes, *, key_id: str | None = None) -> str:
        """Return `KEYID:hex`; raise `credential_missing` for an unknown key_id."""
        key_id = key_id or self.current
        return f"{key_id}:{self._key(key_id).digest(tenant_id, content)}"

    def chain(self, previous: str, line: bytes, *, key_id: str | None = None) -> str:
        """Return the chain value in hex; raise `credential_missing` for an unknown key_id."""
        return self._key(key_id or self.current).chain(previous, line)

    def rotate(self) -> tuple[str, str]:
        """Add a new current key in one durable step; return (old id, new id)."""
        old, keys = self._read()
        new = f"k{max(int(key_id[1:]) for key_id in keys) + 1}"
        self._store.put(self._uri, _blob(new, {**keys, new: fresh_key()}))
        self._load()
        return old, new

    def replace_lost(self, used: Collection[str]) -> str:
        """Make a first key under an unused id; raise `usage` when there are keys to read."""
        try:
            self._read()
        except ColibriError as error:
            if error.code != "credential_missing":
                raise
        else:
            raise ColibriError(
                "usage",
                f"{self._uri} holds host keys: none is lost",
                hint="colibri key rotate host",
            )
        numbers = [int(key_id[1:]) for key_id in used if _KEY_ID.fullmatch(key_id)]
        new = f"k{max(numbers, default=0) + 1}"
        self._store.put(self._uri, _blob(new, {new: fresh_key()}))
        self._load()
        return new

    def __repr__(self) -> str:
        return f"StoredHostKeys({self._uri!r})"

    def _key(self, key_id: str) -> HostKey:
        # An unknown key may be one that another process has just added.
        if key_id not in self._keys:
            self._load()
        if key_id not in self._keys:
            raise ColibriError(
                "credential_missing", f"{self._uri} holds no host key '{key_id[:16]}'", hint=_HINT
            )
        return self._keys[key_id]

    def _load(self) -> None:
        current, keys = self._read()
        self._keys = {key_id: HostKey(bytes.fromhex(key)) for key_id, key in keys.items()}
        self._current = current

    def _read(self) -> tuple[str, dict[str, str]]:
        try:
            blob = json.loads(self._store.get(self._uri).reveal())
        except ValueError:
            blob = None
        if not _plausible(blob):
            # The cause is left out: a JSON error carries the text it failed on.
            raise ColibriError(
                "credential_missing", f"{self._uri} holds no host keys that can be read", hint=_HINT
            ) from None
        return blob["current"], blob["keys"]


def _blob(current: str, keys: dict[str, str]) -> SecretValue:
    text = json.dumps({"version": 1, "current": current, "keys": keys}, sort_keys=True)
    return SecretValue(text)


def _plausible(blob: Any) -> bool:
    if not isinstance(blob, dict) or blob.get("version") != 1:
        return False
    keys = blob.get("keys")
    if not isinstance(keys, dict) or blob.get("current") not in keys:
        return False
    return all(
        _KEY_ID.fullmatch(key_id) and isinstance(key, str) and _KEY.fullmatch(key)
        for key_id, key in keys.items()
    )
