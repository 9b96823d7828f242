"""Items as people type them, and as clients send them: encrypted, in the API's JSON."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.kit.vaultwarden.crypto import b64, seal

LOGIN, NOTE, CARD, IDENTITY, SSH_KEY = 1, 2, 3, 4, 5
PART = {LOGIN: "login", NOTE: "secureNote", CARD: "card", IDENTITY: "identity", SSH_KEY: "sshKey"}
_TEXT, _HIDDEN = 0, 1
EMPTY: dict[int, dict[str, Any]] = {
    LOGIN: {
        "uris": [], "username": None, "password": None, "totp": None,
        "passwordRevisionDate": None, "fido2Credentials": [], "autofillOnPageLoad": None,
    },
    NOTE: {"type": 0},
    CARD: dict.fromkeys(("cardholderName", "brand", "number", "expMonth", "expYear", "code")),
    IDENTITY: dict.fromkeys((
        "title", "firstName", "middleName", "lastName", "address1", "address2", "address3", "city",
        "state", "postalCode", "country", "company", "email", "phone", "ssn", "username",
        "passportNumber", "licenseNumber",
    )),
    SSH_KEY: dict.fromkeys(("privateKey", "publicKey", "keyFingerprint")),
}  # fmt: skip


@dataclass(frozen=True)
class Field:
    """A custom field; hidden ones vanish where a collection hides passwords."""

    name: str
    value: str
    hidden: bool = True


@dataclass(frozen=True)
class Item:
    """One item in the clear; parts are its type's own values by API name."""

    kind: int
    name: str
    notes: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    fields: Sequence[Field] = ()
    uris: Sequence[str] = ()
    own_key: bool = True


def new_key(item: Item, vault_key: bytes) -> bytes:
    """Return the key that item's values are sealed under: its own, or the vault's."""
    return os.urandom(64) if item.own_key else vault_key


def encrypted(item: Item, key: bytes, vault_key: bytes) -> dict[str, Any]:
    """Return the request that makes item, with its values under key."""

    def enc(text: str | None) -> str | None:
        # Clients never seal an empty text: it becomes null.
        return seal(text, key) if text else None

    data = dict(EMPTY[item.kind])
    data.update({name: enc(text) for name, text in item.parts.items()})
    if item.kind == LOGIN:
        data["uris"] = [_uri(uri, key) for uri in item.uris]
    return {
        "type": item.kind,
        "key": seal(key, vault_key) if item.own_key else None,
        "name": enc(item.name),
        "notes": enc(item.notes),
        "fields": [
            {
                "type": _HIDDEN if each.hidden else _TEXT,
                "name": enc(each.name),
                "value": enc(each.value),
                "linkedId": None,
            }
            for each in item.fields
        ],
        "favorite": False,
        "reprompt": 0,
        "passwordHistory": None,
        PART[item.kind]: data,
    }


def _uri(uri: str, key: bytes) -> dict[str, Any]:
    checksum = seal(b64(hashlib.sha256(uri.encode()).digest()), key)
    return {"uri": seal(uri, key), "uriChecksum": checksum, "match": None}
