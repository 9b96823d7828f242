"""The few requests of Bitwarden's API that fill a server, with a client's own cryptography."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.parse
import uuid
from pathlib import Path
from typing import Any

from tests.kit.vaultwarden.account import Account

_HEADERS = {"Device-Type": "25", "Bitwarden-Client-Name": "cli", "Accept": "application/json"}
_CLIENT_VERSION = "2026.8.0"


class RefusedError(AssertionError):
    """The server said no; the text is its own."""


class Api:
    """One person's connection. Paths begin with /api or /identity."""

    def __init__(self, url: str, ca_file: Path) -> None:
        host, _, port = url.removeprefix("https://").partition(":")
        self._context = ssl.create_default_context(cafile=ca_file)
        self._place = (host, int(port or 443))
        self._headers = {**_HEADERS, "Bitwarden-Client-Version": _CLIENT_VERSION}
        self._http = self._connection()

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def register(self, account: Account) -> None:
        """Make an account, as the clients' registration form does."""
        self.post(
            "/identity/accounts/register",
            {
                "email": account.email,
                "name": account.name,
                "masterPasswordHash": account.password_hash,
                "key": account.akey,
                "keys": {
                    "publicKey": account.public_key,
                    "encryptedPrivateKey": account.private_key,
                },
                "kdf": account.kdf.kind,
                "kdfIterations": account.kdf.iterations,
                "kdfMemory": account.kdf.memory,
                "kdfParallelism": account.kdf.parallelism,
            },
        )

    def log_in(self, account: Account) -> None:
        """Log in by password; later requests are this account's."""
        form = {
            "grant_type": "password",
            "scope": "api offline_access",
            "client_id": "cli",
            "username": account.email,
            "password": account.password_hash,
            "deviceType": "25",
            "deviceIdentifier": str(uuid.uuid4()),
            "deviceName": "tests",
        }
        self._bear(self.token(form)[1])

    def log_in_by_key(self, client_id: str, client_secret: str) -> dict[str, Any]:
        """Log in as `bw login --apikey` does; return the answer."""
        status, document = self.token(key_form(client_id, client_secret))
        assert status == 200, document
        self._bear(document)
        return document

    def token(self, form: dict[str, str]) -> tuple[int, Any]:
        """Ask for a token; return status and document, whatever they are."""
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urllib.parse.urlencode(form).encode()
        return self.ask("POST", "/identity/connect/token", body, kind)

    def get(self, path: str) -> Any:
        """Return a document, or raise RefusedError."""
        return _fine(path, self.ask("GET", path))

    def post(self, path: str, document: Any = None) -> Any:
        """Send a document; return the answer's, or raise RefusedError."""
        return self._send("POST", path, document)

    def put(self, path: str, document: Any = None) -> Any:
        """Send a document; return the answer's, or raise RefusedError."""
        return self._send("PUT", path, document)

    def delete(self, path: str) -> Any:
        """Delete; return the answer's document, or raise RefusedError."""
        return _fine(path, self.ask("DELETE", path))

    def upload(self, path: str, content: bytes) -> None:
        """Send a file as a form with the one part `data`."""
        mark = uuid.uuid4().hex
        head = f'--{mark}\r\nContent-Disposition: form-data; name="data"; filename="data"\r\n'
        body = f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + content
        kind = {"Content-Type": f"multipart/form-data; boundary={mark}"}
        _fine(path, self.ask("POST", path, body + f"\r\n--{mark}--\r\n".encode(), kind))

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Return status and document (None where there is none, text where it is no JSON)."""
        sent = {**self._headers, **(headers or {})}
        try:
            self._http.request(method, path, body, sent)
            answer = self._http.getresponse()
        except (http.client.RemoteDisconnected, BrokenPipeError):
            # The server let an idle connection go.
            self._http = self._connection()
            self._http.request(method, path, body, sent)
            answer = self._http.getresponse()
        raw = answer.read()
        try:
            return answer.status, json.loads(raw) if raw else None
        except ValueError:
            return answer.status, raw.decode()

    def _send(self, method: str, path: str, document: Any) -> Any:
        body = b"" if document is None else json.dumps(document).encode()
        return _fine(path, self.ask(method, path, body, {"Content-Type": "application/json"}))

    def _bear(self, document: dict[str, Any]) -> None:
        if "access_token" not in document:
            raise RefusedError(f"no token: {document}")
        self._headers["Authorization"] = f"Bearer {document['access_token']}"

    def _connection(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(*self._place, timeout=60, context=self._context)


def key_form(client_id: str, client_secret: str) -> dict[str, str]:
    """Return the form that `bw login --apikey` sends."""
    return {
        "grant_type": "client_credentials",
        "scope": "api",
        "client_id": client_id,
        "client_secret": client_secret,
        "deviceType": "25",
        "deviceIdentifier": str(uuid.uuid4()),
        "deviceName": "linux",
    }


def _fine(path: str, answered: tuple[int, Any]) -> Any:
    status, document = answered
    if status >= 300:
        raise RefusedError(f"{path}: {status} {document}")
    return document
