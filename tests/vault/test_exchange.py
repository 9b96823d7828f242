"""The transport itself, against sockets that answer byte for byte what a test says."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.kit.vaultwarden.certs import Authority
from tests.vault import place
from vault_svc.adapters.sources.vault import exchange, wire
from vault_svc.adapters.sources.vault.exchange import Channel
from vault_svc.adapters.sources.vault.reading import BrokenOff, Reading
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

    def __init__(self, *answers: bytes, tls: ssl.SSLContext | None = None) -> None:
        self._left = list(answers)
        self._tls = tls
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
            with self._tls.wrap_socket(one, server_side=True) if self._tls else one as talk:
                self._talk(talk)

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
            try:
                one.sendall(answer)
            except ConnectionError:  # given up
                return
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
def script(
    *answers: bytes,
    tls: ssl.SSLContext | None = None,
    ca: str = "",
    by_proxy: bool = False,
    **more,
) -> Iterator[tuple[Script, wire.Wire]]:
    made = Script(*answers, tls=tls)
    url = f"http{'s' if tls else ''}://127.0.0.1:{made.port}"
    limits = place.options(timeout_seconds=2.0, proxy=url if by_proxy else "", **more)
    session = wire.session(trust(ca), limits)
    try:
        yield made, wire.Wire(session, limits, url, token="t-1")
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
        WHOLE.replace(b"\r\n\r\n", b"\r\nno header\r\nTransfer-Encoding: chunked\r\n\r\n"),
        WHOLE.replace(b"\r\n\r\n", b"\r\nX: a\r\rTransfer-Encoding: chunked\r\n\r\n"),
        WHOLE.replace(b"200 OK", b"103 Early Hints"),
        WHOLE.replace(b"200 OK", b"204 No Content"),
        CHUNKED.replace(b"200 OK", b"204 No Content") + PARTS,
        WHOLE.replace(b"200 OK", b"304 Not Modified"),
        *(CHUNKED + PARTS[:end] for end in range(PARTS.index(b"\r\n0\r\n"), len(PARTS))),
        *(CHUNKED + b"0\r\n\r\n"[:end] for end in range(5)),
    ],
    ids=range(44),
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
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000 + WHOLE,
    ],
    ids=range(6),
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


@pytest.mark.parametrize("more", [b"", b"Content-Encoding: gzip\r\n"], ids=["plain", "packed"])
@pytest.mark.parametrize("status", [b"103 Early Hints", b"204 No Content", b"304 Not Modified"])
def test_what_comes_late_after_an_odd_answer_is_no_answer_to_the_next_request(status, more):
    """The parser takes each for whole without a body; what it tells of is still to come."""
    odd = b"HTTP/1.1 %s\r\n%sContent-Length: 20\r\n\r\n" % (status, more)
    with script(odd, WHOLE, concurrency=1) as (server, one):
        with pytest.raises(ColibriError) as caught:
            one.get("/v1/x")
        assert caught.value.code == "source_incomplete"
        assert one.get("/v1/x") == FOUND
        assert server.connections == 2


@pytest.mark.parametrize("rest", [WHOLE, WHOLE[:9], b"x", b"\x00" * 9], ids=range(4))
def test_a_connection_is_given_up_for_what_came_with_an_answer(rest):
    with script(WHOLE + rest, WHOLE, concurrency=1) as (server, one):
        assert [one.get("/v1/x") for _ in range(2)] == [FOUND, FOUND]
        assert server.connections == 2


def test_small_chunks_are_read_and_what_stands_around_a_body_has_an_end():
    reading = Reading()
    reading.feed(CHUNKED + b"".join(b"1\r\n%c\r\n" % each for each in BODY * 5_000))
    assert reading.taken() == BODY * 5_000
    for around in (b"1" + b";" + b"x" * 65_000, b"0\r\nX: " + b"x" * 65_000):
        reading = Reading()
        reading.feed(CHUNKED + around)
        with pytest.raises(BrokenOff):
            reading.feed(b"x" * 65_000)


def test_a_trailer_has_an_end_after_a_long_body_too():
    reading = Reading()
    reading.feed(CHUNKED + b"f4240\r\n" + b"x" * 1_000_000 + b"\r\n0\r\nX: ")
    reading.feed(b"x" * 60_000)
    with pytest.raises(BrokenOff):
        reading.feed(b"x" * 60_000)


def test_a_signal_that_comes_while_the_parser_calls_is_passed_on(monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Reading, "on_body", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Reading().feed(WHOLE)


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
    long = WHOLE.replace(b": 20", b": 4000000") + b" " * 4_000_000
    with script(long, long, concurrency=1, max_answer_bytes=8) as (server, one):
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
    with script(WHOLE) as (server, _):
        channel = Channel("127.0.0.1", server.port, 1.0, None)
        for host, token in (("h", value), (value, "t")):
            with pytest.raises(ValueError, match="head") as caught:
                channel.ask("GET", host, "/v1/x", {"X-Vault-Token": token}, None)
            assert value not in str(caught.value)
        channel.close()
    assert not server.asked


@pytest.mark.parametrize("read", [len(WHOLE), 1 << 14], ids=["just the answer", "both"])
def test_over_tls_too_what_follows_an_answer_is_no_answer_to_the_next_request(
    tmp_path, monkeypatch, read
):
    """What came in the same record is unpacked already: the socket itself has nothing more."""
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server"))
    other = WHOLE.replace(b'"b"', b'"c"')
    monkeypatch.setattr(exchange, "_MOST_HEAD", read)
    ca = authority.file.read_text()
    with script(WHOLE + other, WHOLE, concurrency=1, tls=context, ca=ca) as (server, one):
        assert [one.get("/v1/x") for _ in range(2)] == [FOUND, FOUND]
        assert server.connections == 2


@pytest.mark.parametrize("by_proxy", [False, True])
@pytest.mark.parametrize(
    "head",
    [
        b'Content-Type: multipart/x; "' + (b";" * 60_000 + b"\r\n ") * 2 + b"\r\n",
        b"X: y\r" + b"Content-Type:message/x\r\r" * 2_000 + b"\r\n",
        b"X: y\r" + b"Content-Type:message/x\r\r" * 900 + b"\r\n",
        b"X: " + b"x" * 60_000 + b"\r\n",
    ],
    ids=["hours of reckoning", "mail in mail", "mail in mail, in short", "megabytes"],
)
def test_a_head_is_small(head, by_proxy):
    answer = Cut(WHOLE.replace(b"OK\r\n", b"OK\r\n" + head))
    before = time.process_time()
    with script(answer, by_proxy=by_proxy) as (_, one), pytest.raises(ColibriError) as caught:
        one.get("/v1/x")
    assert caught.value.code in {"source_unreachable", "source_incomplete"}
    assert time.process_time() - before < 2


def test_an_answer_that_broke_off_leaves_nothing_open():
    """Errors of a whole run are kept, and with them the frames they came through."""
    broken = Cut(WHOLE.replace(b"OK", b"OK\r\nConnection: close"))
    with script(*[broken] * 8, max_answer_bytes=8) as (_, one):
        kept, before = [], len(os.listdir("/proc/self/fd"))
        for _ in range(8):
            with pytest.raises(ColibriError) as caught:
                one.get("/v1/x")
            kept.append(caught.value)
        time.sleep(0.1)
        assert len(os.listdir("/proc/self/fd")) <= before + 1


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        # A balancer without a server behind it; later there may be one again.
        (b"", "source_unreachable", ""),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "server_mismatch", "speaks no TLS"),
    ],
)
def test_who_does_not_begin_tls_is_told_from_a_certificate_nobody_trusts(said, code, words):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            one, _ = listening.accept()
            with one:
                one.recv(65536)
                one.sendall(said)

        thread = threading.Thread(target=hang_up)
        thread.start()
        limits = place.options(timeout_seconds=2.0)
        session = wire.session(trust(""), limits)
        with pytest.raises(ColibriError) as caught:
            wire.Wire(session, limits, f"https://127.0.0.1:{listening.getsockname()[1]}").get("/x")
        session.close()
        thread.join()
    assert caught.value.code == code
    assert words in caught.value.message
    assert "nothing was sent" not in caught.value.hint
