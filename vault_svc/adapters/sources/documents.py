"""The plaintext of an embedded collection: versioned JSON (decision 21)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from vault_svc.domain.secret import SecretValue

UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_VERSION: Final = 1


class MalformedError(Exception):
    """The plaintext is not what decision 21 says; the message never quotes it."""


@dataclass(frozen=True, slots=True)
class Secret:
    """One variable's value and when it was set (RFC 3339 UTC)."""

    value: SecretValue
    set_at: str


@dataclass(frozen=True, slots=True)
class Document:
    """A whole collection at one revision."""

    collection_id: str
    revision: int
    secrets: dict[str, Secret] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the plaintext; values must be valid Unicode."""
        secrets = {
            name: {"value": secret.value.reveal(), "set_at": secret.set_at}
            for name, secret in sorted(self.secrets.items())
        }
        whole = {
            "version": _VERSION,
            "collection_id": self.collection_id,
            "revision": self.revision,
            "secrets": secrets,
        }
        return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


def decode(plaintext: bytes) -> Document:
    """Return the document; raise MalformedError in words that quote nothing of it."""
    try:
        whole = json.loads(plaintext.decode(), object_pairs_hook=_once, parse_constant=_never)
    except (ValueError, RecursionError):
        raise MalformedError("its plaintext is not JSON, or says a key twice") from None
    _require(isinstance(whole, dict), "its plaintext is no object")
    _require(_is_number(whole.get("version")), "it has no version")
    _require(whole["version"] == _VERSION, "it has a version this colibri does not know")
    identifier, revision = whole.get("collection_id"), whole.get("revision")
    _require(isinstance(identifier, str) and UUID.fullmatch(identifier) is not None, "it has no id")
    _require(_is_number(revision) and revision >= 0, "it has no revision")
    _require(isinstance(whole.get("secrets"), dict), "it has no secrets")
    secrets = {name: _secret(entry) for name, entry in whole["secrets"].items()}
    return Document(identifier, revision, secrets)


def _secret(entry: Any) -> Secret:
    _require(isinstance(entry, dict), "a secret is no object")
    value, set_at = entry.get("value"), entry.get("set_at")
    _require(isinstance(value, str) and isinstance(set_at, str), "a secret has no value or time")
    return Secret(SecretValue(value), set_at)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    whole = dict(pairs)
    if len(whole) != len(pairs):
        raise ValueError
    return whole


def _never(constant: str) -> NoReturn:
    raise ValueError(constant)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require(condition: bool, why: str) -> None:
    if not condition:
        raise MalformedError(why)
