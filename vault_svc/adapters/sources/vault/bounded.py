"""A session's transport: bounded connections by one context, and requests' own through a proxy."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, cast

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from vault_svc.adapters.sources.vault.connections import Connections
from vault_svc.adapters.sources.vault.exchange import Answer
from vault_svc.adapters.sources.vault.timed import Tls, Until, plain


class _Timed(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return plain(super()._new_conn(), self.timeout)

    def getresponse(self) -> Any:
        read = super().getresponse
        return self.sock.head(self.timeout, read) if isinstance(self.sock, Until) else read()


class _TimedTls(_Timed, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Timed


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TimedTls


class OwnTrust(HTTPAdapter):
    """Bounded connections by our context alone: requests would add its own authorities to it."""

    def __init__(self, context: ssl.SSLContext, connections: int) -> None:
        """Take the context and how many connections there may be at once."""
        self._context = context
        self._direct = Connections(context, connections)
        context.sslsocket_class = Tls
        super().__init__(pool_connections=1, pool_maxsize=connections, pool_block=True)

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        """Make the pool over the context."""
        super().init_poolmanager(*args, ssl_context=self._context, **more)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        """Return the pool through a proxy, over the same context."""
        made = super().proxy_manager_for(proxy, ssl_context=self._context, **more)
        made.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        return made

    def exchange(self, request: PreparedRequest, seconds: float) -> AbstractContextManager[Answer]:
        """Send without a proxy, and without what requests does for each request."""
        headers = cast("Mapping[str, str]", request.headers)
        body = cast("bytes | None", request.body)
        return self._direct.ask(str(request.method), str(request.url), headers, body, seconds)

    def close(self) -> None:
        """End every connection."""
        self._direct.close()
        super().close()

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Insist on the server's certificate; the context knows whose counts."""
        del url, verify, cert
        conn.cert_reqs = "CERT_REQUIRED"
