"""A server on loopback that answers what colibri asks as OpenBao 2.6.2 does.

Recordings of the real one hold it to that: tests/vault/test_recordings.py. Faults are planted by
`fault(where, ...)`; `log` tells what was asked, without values.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl

from tests.kit.vault import routes
from tests.kit.vault.state import ROOT, Answer, State, Token

LOOPBACK = "127.0.0.1"


@dataclass
class Fault:
    """What is answered instead, where part is in the path; after lets some through first."""

    part: str
    status: int
    body: bytes
    headers: dict[str, str]
    times: int
    after: int
    cut: bool
    method: str


class Double:
    """A server of one state; `url` and `root` are what an operator has."""

    def __init__(self, tls: tuple[Path, Path] | None = None) -> None:
        self.state = State()
        self.root = "root-token-of-the-double"
        self.state.tokens[self.root] = Token(self.root, [ROOT], renewable=False)
        self.sealed = self.uninitialised = False
        self.version = "2.6.2"
        self.log: list[tuple[str, str]] = []
        self.most_at_once = self.connections = 0
        self.slowness = 0.0
        self._faults: list[Fault] = []
        self._lock = threading.RLock()
        self._now = 0
        self._server = _Server((LOOPBACK, 0), _handler(self))
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://{LOOPBACK}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fault(
        self,
        part: str,
        status: int = 200,
        body: bytes = b'{"errors":[]}',
        *,
        times: int = 1_000_000,
        after: int = 0,
        cut: bool = False,
        method: str = "",
        **headers: str,
    ) -> None:
        """Plant a fault; cut ends the connection in the middle of the answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._faults.append(Fault(part, status, body, named, times, after, cut, method))

    def heal(self) -> None:
        """Take every fault away."""
        self._faults.clear()

    def asked(self, part: str) -> int:
        """Return how many requests had part in their path."""
        return sum(part in path for _, path in self.log)

    def answer(  # noqa: PLR0911
        self, method: str, path: str, token: str, body: Any, certificate: bool
    ) -> Any:
        """Return status and document of a request, or a planted fault."""
        with self._lock:
            self.log.append((method, path))
            for fault in self._faults:
                if fault.part in path and fault.method in {"", method} and fault.times > 0:
                    if fault.after > 0:
                        fault.after -= 1
                        continue
                    fault.times -= 1
                    return fault
            if path == "sys/health":
                return 200, self._health()
            if path == "sys/unseal":
                self.sealed = False
                return 200, {"sealed": False}
            if self.uninitialised:
                return 503, {"errors": ["Vault is sealed"]}  # as the real one says it
            if self.sealed:
                return 503, {"errors": ["Vault is sealed"]}
            try:
                asked = routes.Request(self.state, method, path, token, body or {}, certificate)
                return routes.answered(asked, self._time)
            except Answer as refused:
                return refused.status, refused.body

    def _time(self) -> str:
        self._now += 1
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(1_795_000_000 + self._now))
        return f"{at}.{self._now:09d}Z"

    def _health(self) -> dict[str, Any]:
        return {
            "initialized": not self.uninitialised,
            "sealed": self.sealed or self.uninitialised,
            "standby": self.sealed or self.uninitialised,
            "replication_performance_mode": "disabled",
            "replication_dr_mode": "disabled",
            "server_time_utc": 1,
            "version": self.version,
            "cluster_name": "vault-cluster-double",
            "cluster_id": "00000000-0000-0000-0000-00000000d0b1",
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


def _handler(double: Double) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        busy = 0

        def setup(self) -> None:
            super().setup()
            double.connections += 1

        def log_message(self, *args: Any) -> None:
            pass

        def _serve(self) -> None:
            path, _, query = self.path.removeprefix("/v1/").partition("?")
            method = "LIST" if "list=true" in query else self.command
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            body |= dict(parse_qsl(query)) if method == "LIST" else {}
            certificate = bool(getattr(self.connection, "getpeercert", lambda: None)())
            type(self).busy += 1
            double.most_at_once = max(double.most_at_once, type(self).busy)
            time.sleep(double.slowness)
            token = self.headers.get("X-Vault-Token", "")
            found = double.answer(method, path, token, body, certificate)
            type(self).busy -= 1
            if isinstance(found, Fault):
                self._send(found.status, found.body, found.headers, cut=found.cut)
                return
            status, document = found
            raw = b"" if document is None else json.dumps(document).encode() + b"\n"
            self._send(204 if document is None else status, raw, {}, cut=False)

        def _send(self, status: int, raw: bytes, headers: dict[str, str], *, cut: bool) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw[: len(raw) // 2] if cut else raw)
            if cut:
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_DELETE = do_LIST = do_PATCH = _serve  # noqa: N815

    return Handler
