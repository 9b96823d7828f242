"""A small HTTPS server on loopback: threads, bounded bodies, answers that can go wrong."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.kit.vaultwarden.certs import LOOPBACK
from tests.kit.vaultwarden.faults import Answer

_BODY_LIMIT = 4 * 1024 * 1024
_IDLE_SECONDS = 120


@dataclass(frozen=True)
class Request:
    """One request, body included; whoever handles it lets go of it."""

    method: str
    path: str
    query: str
    headers: Message
    body: bytes

    def raw(self) -> bytes:
        """Return everything that was sent, to be searched."""
        lines = "\n".join(f"{name}: {value}" for name, value in self.headers.items())
        return f"{self.path}?{self.query}\n{lines}\n".encode() + self.body


Handle = Callable[[Request], Answer]


class Server:
    """Serves handle until stopped; port 0 takes any, and a stopped server's port refuses."""

    def __init__(
        self, handle: Handle, certificate: tuple[Path, Path] | None, port: int = 0
    ) -> None:
        self.stopping = threading.Event()
        self._listener = _Listener((LOOPBACK, port), _handler(handle, self.stopping))
        self.port: int = self._listener.server_address[1]
        if certificate is not None:
            self.show(certificate)
        self._thread = threading.Thread(
            target=self._listener.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    def show(self, certificate: tuple[Path, Path]) -> None:
        """Use this certificate and key for the connections to come."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*certificate)
        self._listener.context = context

    def stop(self) -> None:
        """Refuse connections from now on; answers that wait are let go."""
        self.stopping.set()
        self._listener.shutdown()
        self._listener.server_close()
        self._listener.hang_up()
        self._thread.join(timeout=5)


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    context: ssl.SSLContext | None = None

    def __init__(self, *args) -> None:
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(*args)

    def finish_request(self, request, client_address) -> None:
        """Shake hands in the connection's own thread, so that a slow one stops nobody."""
        request.settimeout(_IDLE_SECONDS)
        # A caller that does not like the certificate, or that was cut off, hangs up: no news.
        with contextlib.suppress(OSError), self._secured(request) as ours, self._noted(ours):
            super().finish_request(ours, client_address)

    def _secured(self, request: socket.socket) -> socket.socket:
        if self.context is None:
            return request
        return self.context.wrap_socket(request, server_side=True)

    @contextlib.contextmanager
    def _noted(self, connection: socket.socket) -> Iterator[None]:
        with self._guard:
            self._open.add(connection)
        try:
            yield
        finally:
            with self._guard:
                self._open.discard(connection)

    def hang_up(self) -> None:
        """End every open connection."""
        with self._guard:
            still = list(self._open)
        for each in still:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _handler(handle: Handle, stopping: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "double"

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            if length > _BODY_LIMIT:
                self.close_connection = True
                return
            path, _, query = self.path.partition("?")
            body = self.rfile.read(length)
            answer = handle(Request(self.command, path, query, self.headers, body))
            if answer.wait:
                stopping.wait(answer.wait)
            self._send(answer)

        def _send(self, answer: Answer) -> None:
            if answer.reset:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.body:
                self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body if answer.sent is None else answer.body[: answer.sent])
            self.close_connection = self.close_connection or answer.sent is not None

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _serve  # noqa: N815

        def log_message(self, *_args) -> None:
            """Print nothing: request lines may carry what must not be printed."""

    return Handler
