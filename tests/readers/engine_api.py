"""A fake container engine on a unix socket that records what a client asks to be created.

Nothing is ever run: docker and podman read the env file on the client's side and send the result
in the create request, which is where it is compared.
"""

from __future__ import annotations

import contextlib
import json
import socketserver
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

MAX_BODY_BYTES = 64 * 1024**2


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *args: Any) -> None:
        return

    def _answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Api-Version", "1.41")
        self.send_header("Libpod-Api-Version", "4.3.1")
        self.send_header("Ostype", "linux")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self._answer(200, "OK")

    def do_GET(self) -> None:
        self._answer(200, "OK" if self.path.endswith("/_ping") else {})

    def do_POST(self) -> None:
        length = min(int(self.headers.get("Content-Length") or 0), MAX_BODY_BYTES)
        body = self.rfile.read(length)
        if self.path.split("?")[0].endswith("/containers/create"):
            self.server.created.append(json.loads(body))
            self._answer(201, {"Id": "0" * 64, "Warnings": []})
        else:
            self._answer(404, {"message": "this engine only records create requests"})


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.created: list[dict[str, Any]] = []
        super().__init__(str(path), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # podman hangs up before it has read the answer to its ping.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def engine(socket: Path) -> Iterator[list[dict[str, Any]]]:
    """Serve on socket while the block runs; yields the list create requests are recorded in."""
    with _Server(socket) as server:
        socket.chmod(0o666)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.created
        finally:
            server.shutdown()
            thread.join()
