"""The orchestrator's account as one credential: server, place, authority and how it logs in."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from vault_svc.adapters.sources.vault.places import Place
from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError, printable

METHODS: Final = ("approle", "token-file", "cert", "jwt")
DEFAULT_AUTH_MOUNTS: Final = {"approle": "approle", "cert": "cert", "jwt": "jwt", "token-file": ""}
_LOGIN: Final = "colibri source login vault"
_TEXTS: Final = (
    "server", "namespace", "mount", "folder", "method", "auth_mount", "role", "ca",
    "auth_file", "cert_file", "key_file", "role_id", "secret_id", "cluster_id",
)  # fmt: skip
_PATH: Final = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*", re.ASCII)
_MAX_SECRET: Final = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """What a session needs; ca is the PEM of the one authority that counts, "" for the host's.

    auth_file is a token's file (token-file) or a JWT's (jwt). version is the KV engine's.
    """

    server: str
    namespace: str
    mount: str
    folder: str
    version: int
    method: str
    auth_mount: str = ""
    role: str = ""
    ca: str = ""
    auth_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    role_id: str = ""
    secret_id: SecretValue = field(default_factory=lambda: SecretValue(""))
    cluster_id: str = ""

    @property
    def place(self) -> Place:
        """Where the collections are."""
        return Place(self.mount, self.folder, self.version)

    def blob(self) -> SecretValue:
        """Return the credential as it is stored."""
        texts = {name: getattr(self, name) for name in _TEXTS}
        texts["secret_id"] = self.secret_id.reveal()
        return SecretValue(json.dumps({"format": 1, "version": self.version, **texts}))


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
    texts = {name: found[name] for name in _TEXTS if name != "secret_id"}
    secret_id = SecretValue(found["secret_id"])
    return Account(**texts, version=found["version"], secret_id=secret_id)


def _plausible(found: Any) -> bool:
    if not isinstance(found, dict) or found.get("format") != 1:
        return False
    texts = all(isinstance(found.get(name), str) for name in _TEXTS)
    return texts and found.get("version") in {1, 2} and found.get("method") in METHODS


def checked_server(url: str) -> str:
    """Return a plain https address, or http to this very host; raise `usage`."""
    try:
        parts = urlsplit(url)
        plain = not (parts.query or parts.fragment or parts.username or parts.password)
        host, _ = parts.hostname or "", parts.port
        host.encode("idna")  # as it will be to be looked up
    except ValueError:
        plain, host = False, ""
    odd = not url.isascii() or not url.isprintable() or " " in url
    if not plain or not host or odd or parts.scheme not in {"https", "http"}:
        raise ColibriError(
            "usage",
            "the server's address is not a plain https one",
            hint="for example --server https://vault.example.org:8200",
        )
    if parts.scheme == "http" and not _is_loopback(host):
        raise ColibriError(
            "usage",
            "without TLS everybody on the way could read the secrets",
            hint="use https; plain http is for 127.0.0.1 and ::1 alone",
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def checked_path(text: str, option: str) -> str:
    """Return a mount, folder, namespace or role that can stand in a path; raise `usage`."""
    bare = text.strip("/")
    if not _PATH.fullmatch(bare) or {".", ".."} & set(bare.split("/")):
        raise ColibriError(
            "usage", f"'{printable(text[:64])}' cannot be used as {option}", hint="check it"
        )
    return bare


def checked_secret(value: SecretValue, what: str) -> str:
    """Return one line of text as it can stand in a header; raise `usage`, showing none of it."""
    text = value.reveal().strip()
    if not text:
        raise ColibriError("usage", f"no {what} came", hint="give it as one line")
    if len(text) > _MAX_SECRET or not text.isascii() or not text.isprintable():
        raise ColibriError("usage", f"the {what} is not one line of plain text", hint="one line")
    return text
