"""The service account as one credential: server, organisation, keys and the trusted helper."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from vault_svc.adapters.sources.vaultwarden.helper import Helper
from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError, printable

UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_LOGIN: Final = "colibri source login vaultwarden"
_TEXTS: Final = (
    "server", "organization_id", "organization_name", "client_id", "device_id",
    "client_secret", "password", "ca",
)  # fmt: skip
_HELPER: Final = ("bw", "node", "version", "manifest")
_MAX_TEXT: Final = 64 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """What one login needs; ca is the PEM of a private authority, "" for the public ones."""

    server: str
    organization_id: str
    organization_name: str
    client_id: str
    device_id: str
    client_secret: SecretValue
    password: SecretValue
    ca: str
    helper: Helper

    @property
    def user_id(self) -> str:
        """The service account's UUID, which is the client id's second half."""
        return self.client_id.removeprefix("user.")

    def blob(self) -> SecretValue:
        """Return the credential as it is stored."""
        texts = {name: getattr(self, name) for name in _TEXTS}
        texts["client_secret"] = self.client_secret.reveal()
        texts["password"] = self.password.reveal()
        return SecretValue(json.dumps({"version": 1, **texts, "helper": asdict(self.helper)}))


def parse(blob: SecretValue, uri: str) -> Account:
    """Return the stored account; raise `credential_missing` for anything else."""
    try:
        found = json.loads(blob.reveal())
    except ValueError:
        found = None
    if not _plausible(found):
        # The cause is left out: a JSON error carries the text it failed on.
        raise ColibriError(
            "credential_missing", f"{printable(uri)} holds no account that can be read", hint=_LOGIN
        )
    texts = {name: found[name] for name in _TEXTS if name not in {"client_secret", "password"}}
    return Account(
        **texts,
        client_secret=SecretValue(found["client_secret"]),
        password=SecretValue(found["password"]),
        helper=Helper(**found["helper"]),
    )


def _plausible(found: Any) -> bool:
    if not isinstance(found, dict) or found.get("version") != 1:
        return False
    helper = found.get("helper")
    if not isinstance(helper, dict) or set(helper) != set(_HELPER):
        return False
    texts = [found.get(name) for name in _TEXTS] + list(helper.values())
    if not all(isinstance(text, str) for text in texts):
        return False
    return bool(UUID.fullmatch(found["organization_id"]) and UUID.fullmatch(found["device_id"]))


def checked_server(url: str) -> str:
    """Return url as `bw` keeps it; raise `usage` for anything but a plain https address."""
    parts = urlsplit(url)
    plain = not (parts.query or parts.fragment or parts.username or parts.password)
    try:
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        port_ok = False
    if parts.scheme != "https" or not parts.hostname or not plain or not port_ok:
        raise ColibriError(
            "usage",
            "the server's address is not a plain https one",
            hint="for example --server https://vault.example.org",
        )
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ColibriError("usage", "the server's address has characters no address has")
    return url.rstrip("/")


def checked_client_id(value: SecretValue) -> str:
    """Return a user's client id; raise `usage`: `bw` takes no organisation's key."""
    text = value.reveal().strip()
    if text.startswith("organization."):
        raise ColibriError(
            "usage",
            "this is an organisation's API key, which bw cannot use",
            hint="use the service account's own: Settings, Security, Keys, View API key",
        )
    if not text.startswith("user.") or not UUID.fullmatch(text.removeprefix("user.")):
        raise ColibriError(
            "usage", "the client id is not user.UUID", hint="client id first, then the secret"
        )
    return text


def checked_secret(value: SecretValue, what: str) -> SecretValue:
    """Return a secret `bw` can be given; raise `usage` without showing any of it."""
    text = value.reveal()
    if not text or len(text) > _MAX_TEXT or any(c in text for c in "\0\r\n"):
        raise ColibriError(
            "usage", f"the {what} is empty, or has a line end or NUL in it", hint="one line each"
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ColibriError("usage", f"the {what} is not UTF-8 text") from None
    return value
