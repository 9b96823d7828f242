"""The server itself, asked directly and without credentials: is it there, and which is it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from vault_svc.adapters.sources.vaultwarden.jsontext import parsed
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
    context, parts = trusting(ca), urlsplit(url)

    def get(path: str) -> Any:
        link = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=timeout_seconds, context=context
        )
        try:
            link.connect()
            with _ended_after(timeout_seconds, link.sock):
                return _get(link, parts.path + path)
        except (OSError, http.client.HTTPException) as error:
            raise _why(error) from None

    config, version = get("/api/config"), get("/api/version")
    if not isinstance(config, dict) or config.get("object") != "config":
        raise ColibriError("server_mismatch", "there is no Bitwarden API at this address")
    server = config.get("server")
    name = server.get("name") if isinstance(server, dict) else None
    own = version if isinstance(version, str) and name else config.get("version")
    return Server(str(name or "Bitwarden")[:64], str(own)[:64])


def _why(error: Exception) -> ColibriError:
    if isinstance(error, ssl.SSLCertVerificationError):
        words = "the server's certificate is not trusted, or for another name"
        return ColibriError("server_mismatch", words, hint=_DOWN)
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        return ColibriError("server_mismatch", "the server does not speak TLS there", hint=_DOWN)
    return ColibriError("source_unreachable", "the server does not answer", hint=_DOWN)


@contextlib.contextmanager
def _ended_after(seconds: float, connection: socket.socket) -> Iterator[None]:
    """Break the connection after so long: a socket's own timeout is that of each piece."""
    late: list[bool] = []

    def end() -> None:
        late.append(True)
        with contextlib.suppress(OSError):
            # Not SSLSocket's own, after which it would go on without TLS.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        connection.close()
    if late:
        raise TimeoutError


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
    return parsed(body)
