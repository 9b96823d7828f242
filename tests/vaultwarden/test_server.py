"""What the server is asked directly: bounded in time and size, and never believed too much."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.kit.vaultwarden import Edit, Redirect, Reset, Status, Truncated
from tests.kit.vaultwarden.certs import Authority
from vault_svc.adapters.sources.vaultwarden import server
from vault_svc.errors import ColibriError


def code_of(double, seconds: float = 5.0) -> str:
    with pytest.raises(ColibriError) as caught:
        server.ask(double.url, double.ca_file.read_text(), seconds)
    assert "127.0.0.1" not in caught.value.line()
    return caught.value.code


def test_it_says_what_it_is(double):
    found = server.ask(double.url, double.ca_file.read_text(), 5.0)
    assert (found.name, found.version) == ("Vaultwarden", "1.37.2")


DEEP = b"[" * 100_000 + b"]" * 100_000


class Body(Edit):
    """Any body at all instead of the right one."""

    def __init__(self, body: bytes) -> None:
        super().__init__(lambda document: document)
        object.__setattr__(self, "body", body)

    def change(self, answer):
        answer.body = self.body
        return answer


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Status(500), "server_mismatch"),
        (Truncated(), "server_mismatch"),
        (Redirect("https://127.0.0.1:9/"), "server_mismatch"),
        (Reset(), "source_unreachable"),
        (Body(DEEP), "server_mismatch"),
        (Body(b'"' + b"x" * (2 << 20) + b'"'), "server_mismatch"),
        (Body(b"[]"), "server_mismatch"),
        (Body(b"\xff"), "server_mismatch"),
    ],
    ids=["500", "cut", "redirect", "reset", "deep", "huge", "list", "no-text"],
)
def test_what_is_no_bitwarden_is_said_to_be_none(double, fault, code):
    double.faults.at("config", fault)
    assert code_of(double) == code


@pytest.mark.parametrize("name", [None, 1, [], {}, "x" * 100_000, "\x1b[31m"])
def test_a_name_is_text_and_short(double, name):
    double.faults.at("config", Edit(lambda document: {**document, "server": {"name": name}}))
    found = server.ask(double.url, double.ca_file.read_text(), 5.0)
    assert len(found.name) <= 64
    assert len(found.version) <= 64


def test_plain_http_is_no_tls(double):
    with silent(lambda connection: connection.sendall(b"HTTP/1.1 400 no\r\n\r\n")) as port:
        object.__setattr__(double, "url", f"https://127.0.0.1:{port}")
        assert code_of(double) == "server_mismatch"


def test_an_endless_answer_is_not_waited_for(double, tmp_path):
    """One byte now and then: each comes in time, the whole never would."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority = Authority(tmp_path, "slow")
    context.load_cert_chain(*authority.issue("slow"))

    def trickle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as ours:
            ours.recv(4096)
            ours.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            for _ in range(200):
                time.sleep(0.1)
                ours.sendall(b"x")

    with silent(trickle) as port:
        object.__setattr__(double, "url", f"https://127.0.0.1:{port}")
        double.ca_file = authority.file
        started = time.monotonic()
        assert code_of(double, seconds=0.5) == "source_unreachable"
        assert time.monotonic() - started < 10


@contextmanager
def silent(answer) -> Iterator[int]:
    """Answer every connection like that; whoever hangs up is no news."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                answer(connection)
            except OSError:
                pass
            finally:
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=30)
