"""The transport itself, against sockets that answer byte for byte what a test says."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.vault import place
from vault_svc.adapters.sources.vault import wire
from vault_svc.adapters.sources.vault.exchange import Channel
from vault_svc.adapters.sources.vault.refusal import Refusal
from vault_svc.adapters.sources.vault.session import trust
from vault_svc.errors import ColibriError

BODY = b'{"data": {"a": "b"}}'
FOUND = {"data": {"a": "b"}}
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PARTS = b"5\r\n" + BODY[:5] + b"\r\nF;x=y\r\n" + BODY[5:] + b"\r\n0\r\nTrailer: x\r\n\r\n"


class Cut(bytes):
    """What a server says before it ends the connection."""

    __slots__ = ()


class Twice(bytes):
    """What a server says half at once and half when that has been read, without being asked."""

    __slots__ = ()


class Script:
    """Answers the n-th request of all connections with the n-th text."""

    def __init__(self, *answers: bytes) -> None:
        self._left = list(answers)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.asked: list[bytes] = []
        self.connections = 0
        self.said = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while self._left:
            try:
                one, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            with one:
                self._talk(one)

    def _talk(self, one: socket.socket) -> None:
        while self._left and (got := self._request(one)):
            self.asked.append(got)
            answer = self._left.pop(0)
            if isinstance(answer, Twice):
                one.sendall(answer[: len(answer) // 2])
                time.sleep(0.1)
                one.sendall(answer[len(answer) // 2 :])
                self.said.set()
                continue
            one.sendall(answer)
            if isinstance(answer, Cut):
                return

    def _request(self, one: socket.socket) -> bytes:
        """Read a request; its body comes after its head."""
        try:
            got = one.recv(65536)
            while b"Content-Length: 15\r\n" in got and got.endswith(b"\r\n\r\n"):
                got += one.recv(65536)
        except ConnectionError:  # ended with something unread
            return b""
        return got

    def end(self) -> None:
        self._left.clear()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


@contextmanager
def script(*answers: bytes, **more) -> Iterator[tuple[Script, wire.Wire]]:
    made = Script(*answers)
    limits = place.options(timeout_seconds=2.0, **more)
    session = wire.session(trust(""), limits)
    try:
        yield made, wire.Wire(session, limits, f"http://127.0.0.1:{made.port}", token="t-1")
    finally:
        session.close()
        made.end()


@pytest.mark.parametrize(
    "answer",
    [
        WHOLE,
        CHUNKED + PARTS,
        WHOLE.replace(b" OK", b""),
        b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE,
        WHOLE.replace(b"OK\r\n", b"OK\r\nX-Odd: \xff\r\nEmpty:\r\n"),
    ],
    ids=["a length", "chunks", "no reason", "1xx before it", "odd headers"],
)
def test_an_answer_is_understood(answer):
    with script(answer) as (_, one):
        assert one.get("/v1/x") == FOUND


@pytest.mark.parametrize(
    "answer",
    [
        WHOLE[:-1],
        b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n",
        WHOLE.replace(b"OK\r\n", b"OK\r\nContent-Length: 5\r\n"),
        CHUNKED + PARTS[:10],
        CHUNKED + b"-5\r\n",
        CHUNKED + b"1" * 10_000,
        CHUNKED.replace(b"chunked", b"gzip, chunked") + PARTS,
        CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 20\r\n\r\n") + PARTS,
        WHOLE.replace(b": 20", b": -1"),
        WHOLE.replace(b": 20", b": +20"),
        WHOLE.replace(b": 20", b": \xb2"),
        WHOLE.replace(b": 20", b": " + b"9" * 40),
    ],
    ids=range(14),
)
def test_an_answer_whose_end_does_not_come_or_makes_no_sense_is_incomplete(answer):
    with script(Cut(answer)) as (_, one), pytest.raises(ColibriError) as caught:
        one.get("/v1/x")
    assert caught.value.code == "source_incomplete"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/2 200\r\n\r\n" + BODY,
        b"HTTP/1.1 20\r\n\r\n",
        WHOLE.replace(b"OK\r\n", b"OK\r\nX: " + b"x" * 200_000 + b"\r\n"),
    ],
    ids=range(5),
)
def test_what_is_no_answer_is_a_server_that_does_not_answer(answer):
    with script(Cut(answer)) as (_, one), pytest.raises(ColibriError) as caught:
        one.get("/v1/x")
    assert caught.value.code == "source_unreachable"
    assert "in time" not in caught.value.line()


def test_a_connection_is_used_again_after_an_answer_with_or_without_a_body():
    none = b"HTTP/1.1 204 No Content\r\n\r\n"
    with script(WHOLE, none, CHUNKED + PARTS, WHOLE, concurrency=1) as (server, one):
        assert [one.get("/v1/x") for _ in range(4)] == [FOUND, {}, FOUND, FOUND]
        assert server.connections == 1


def test_what_follows_an_answer_is_no_answer_to_the_next_request():
    """A second answer that nobody asked for could be another tenant's."""
    other = WHOLE.replace(b'"b"', b'"c"')
    with script(WHOLE + other, WHOLE, concurrency=1) as (_, one):
        assert [one.get("/v1/x") for _ in range(2)] == [FOUND, FOUND]
    with script(Twice(WHOLE + other), WHOLE, concurrency=1) as (server, one):
        assert one.get("/v1/x") == FOUND
        server.said.wait(5)
        assert one.get("/v1/x") == FOUND
        assert server.connections == 2


@pytest.mark.parametrize("word", [b"Connection: close", b"connection: Keep-Alive, Close"])
def test_a_connection_that_the_server_ends_is_not_used_again(word):
    with script(Cut(WHOLE.replace(b"OK", b"OK\r\n" + word)), WHOLE, concurrency=1) as (server, one):
        assert [one.get("/v1/x") for _ in range(2)] == [FOUND, FOUND]
        assert server.connections == 2


def test_a_connection_that_ended_while_it_waited_is_replaced():
    with script(Cut(WHOLE), WHOLE, concurrency=1) as (server, one):
        assert one.get("/v1/x") == FOUND
        threading.Event().wait(0.05)
        assert one.get("/v1/x") == FOUND
        assert server.connections == 2


def test_no_request_is_sent_twice():
    """A used-up token would be refused, and look like a tenant's that may not read."""
    with script(WHOLE, Cut(b""), WHOLE, concurrency=1) as (server, one):
        assert one.get("/v1/x") == FOUND
        with pytest.raises(ColibriError) as caught:
            one.post("/v1/x", json={})
        assert caught.value.code == "source_unreachable"
        assert len(server.asked) == 2


def test_an_answer_too_large_ends_its_connection_unread():
    with script(WHOLE, WHOLE, concurrency=1, max_answer_bytes=8) as (server, one):
        for _ in range(2):
            with pytest.raises(ColibriError) as caught:
                one.get("/v1/x")
            assert "vault_max_answer_bytes" in caught.value.hint
        assert server.connections == 2


def test_a_refusal_keeps_its_connection_and_its_wait():
    slow = b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}"
    with script(slow, WHOLE, concurrency=1) as (server, one):
        with pytest.raises(Refusal) as caught:
            one.get("/v1/x")
        assert (caught.value.status, caught.value.retry_after) == (429, 7.0)
        assert one.get("/v1/x") == FOUND
        assert server.connections == 1


def test_a_request_is_one_text_with_nothing_of_its_own():
    with script(WHOLE) as (server, one):
        one.post("/v1/a b\r\nX: y", json={"k": "\u20ac"})
    head, _, body = server.asked[0].partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    assert first == "POST /v1/a%20b%0D%0AX:%20y HTTP/1.1"
    assert body == b'{"k": "\\u20ac"}'
    assert dict(line.split(": ", 1) for line in rest) == {
        "Host": f"127.0.0.1:{server.port}", "Accept": "application/json",
        "Accept-Encoding": "identity", "User-Agent": "colibri", "X-Vault-Request": "true",
        "X-Vault-Token": "t-1", "Content-Type": "application/json", "Content-Length": "15",
    }  # fmt: skip


@pytest.mark.parametrize("value", ["x\r\nX-Vault-Token: other", "x\nY: z", "\x00", "\u20ac"])
def test_nothing_is_sent_that_would_be_a_second_request(value):
    channel = Channel("127.0.0.1", 9, 1.0, None)  # nobody is there, and nobody is asked
    with pytest.raises(ValueError, match="head") as caught:
        channel.ask("GET", "/v1/x", {"X-Vault-Token": value}, None)
    assert value not in str(caught.value)
