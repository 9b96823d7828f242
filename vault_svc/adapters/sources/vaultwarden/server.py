"""The server itself, asked directly and without credentials: is it there, and which is it."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from vault_svc.errors import ColibriError

_MAX_BYTES: Final = 1 << 20
_OK: Final = 200
_DOWN: Final = "see the runbook vaultwarden-down.md"


@dataclass(frozen=True, slots=True)
class Server:
    """What it calls itself, and the version it gives."""

    name: str
    version: str


def ask(url: str, ca: str, timeout_seconds: float) -> Server:
    """Return what `GET /api/config` tells, and `/api/version` where there is that (Vaultwarden).

    No redirect is followed and no proxy used. Raises `source_unreachable` or `server_mismatch`
    (TLS not trusted, or no such server).
    """
    context = trusting(ca)
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        link = http.client.HTTPSConnection(
            host, parts.port, timeout=timeout_seconds, context=context
        )
        config = _get(link, f"{parts.path}/api/config")
        version = _get(link, f"{parts.path}/api/version")
    except ssl.SSLError:
        raise ColibriError(
            "server_mismatch",
            "the server's certificate is not trusted, or for another name",
            hint=_DOWN,
        ) from None
    except (OSError, http.client.HTTPException):
        raise ColibriError("source_unreachable", "the server does not answer", hint=_DOWN) from None
    if not isinstance(config, dict) or config.get("object") != "config":
        raise ColibriError("server_mismatch", "there is no Bitwarden API at this address")
    server = config.get("server")
    name = server.get("name") if isinstance(server, dict) else None
    own = version if isinstance(version, str) and name else config.get("version")
    return Server(str(name or "Bitwarden")[:64], str(own)[:64])


def trusting(ca: str) -> ssl.SSLContext:
    """Return a TLS context with the host's authorities and ca (PEM); raise `usage` for bad PEM."""
    context = ssl.create_default_context()
    if ca:
        try:
            context.load_verify_locations(cadata=ca)
        except ssl.SSLError:
            raise ColibriError(
                "usage", "the CA file holds no certificate that can be read"
            ) from None
    return context


def _get(link: http.client.HTTPSConnection, path: str) -> Any:
    link.request("GET", path, headers={"Accept": "application/json"})
    response = link.getresponse()
    body = response.read(_MAX_BYTES + 1)
    if response.status != _OK or len(body) > _MAX_BYTES:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return None
