"""Keyed digests and the audit chain's authentication codes, HMAC-SHA256 (RFC 2104)."""

from __future__ import annotations

import hmac
import secrets
from typing import Final, NoReturn, SupportsIndex

KEY_BYTES: Final = 32
# Purpose and format version are part of each subkey: a digest is never a chain value.
_DIGEST: Final = b"colibri/digest/1"
_AUDIT: Final = b"colibri/audit/1"


class HostKey:
    """One host key, kept only as the two subkeys that are used."""

    __slots__ = ("__audit", "__digest")

    def __init__(self, key: bytes) -> None:
        """Derive the subkeys from KEY_BYTES bytes of key."""
        if len(key) != KEY_BYTES:
            raise ValueError("a host key has 32 bytes")
        self.__digest = hmac.digest(key, _DIGEST, "sha256")
        self.__audit = hmac.digest(key, _AUDIT, "sha256")

    def digest(self, tenant_id: str, content: bytes) -> str:
        """Return the hex digest of one tenant's content."""
        return hmac.digest(self.__digest, tenant_id.encode() + b"\0" + content, "sha256").hex()

    def chain(self, previous: str, line: bytes) -> str:
        """Return the hex chain value of line after the chain value previous."""
        return hmac.digest(self.__audit, previous.encode() + b"\0" + line, "sha256").hex()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("host keys are never pickled or copied")

    def __repr__(self) -> str:
        return "HostKey(hidden)"


def fresh_key() -> str:
    """Return a new key as hex, from the kernel's generator."""
    return secrets.token_hex(KEY_BYTES)
