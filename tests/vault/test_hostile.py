"""A server, or whoever is in its place, that means harm: every read ends, in time, with a name."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.kit.stores import resolve_one, revealed
from tests.kit.vaultwarden.certs import Authority
from tests.vault import place
from vault_svc.adapters.sources.vault import wire
from vault_svc.adapters.sources.vault.client import Client
from vault_svc.adapters.sources.vault.places import Place
from vault_svc.adapters.sources.vault.session import trust
from vault_svc.errors import ColibriError

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
PATIENCE = 0.3
PLACE = Place("secret", "tenants", 2)


@contextmanager
def serving(act: Callable[[socket.socket], None], tls: ssl.SSLContext | None) -> Iterator[int]:
    """Yield the port of a server that acts on each connection, in a thread."""
    listening = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                raw, _ = listening.accept()
                with tls.wrap_socket(raw, server_side=True) if tls else raw as one:
                    one.recv(65536)
                    act(one)
            except OSError:
                continue

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        ended.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def dripping(before: bytes, byte: bytes) -> Callable[[socket.socket], None]:
    def act(one: socket.socket) -> None:
        one.sendall(before)
        until = time.monotonic() + 4
        while time.monotonic() < until:
            one.sendall(byte)
            time.sleep(0.02)

    return act


DRIPS = {
    "a head that never ends": dripping(b"HTTP/1.1 200 OK\r\n", b"x"),
    "a body that never ends": dripping(HEAD, b" "),
    "a hundred times 100": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("name", DRIPS)
def test_an_answer_that_drips_is_given_up_in_time(name, tls, tmp_path):
    """Each byte comes long before a socket's own timeout, which begins anew with it."""
    authority, context = Authority(tmp_path), None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue("server"))
    options = place.options(timeout_seconds=PATIENCE)
    with serving(DRIPS[name], context) as port:
        session = wire.session(trust(authority.file.read_text()), options)
        url = f"http{'s' if tls else ''}://127.0.0.1:{port}"
        before = time.monotonic()
        with pytest.raises(ColibriError) as caught:
            Client(wire.Wire(session, options, url), PLACE).health()
        took = time.monotonic() - before
        session.close()
    assert caught.value.code == "source_unreachable"
    assert "in time" in caught.value.line()
    assert took < PATIENCE + 2


@pytest.mark.parametrize("name", DRIPS)
def test_a_proxy_that_drips_is_given_up_in_time(name):
    with serving(DRIPS[name], None) as port:
        options = place.options(timeout_seconds=PATIENCE, proxy=f"http://127.0.0.1:{port}")
        session = wire.session(trust(""), options)
        before = time.monotonic()
        with pytest.raises(ColibriError) as caught:
            Client(wire.Wire(session, options, "http://127.0.0.1:9"), PLACE).health()
        took = time.monotonic() - before
        session.close()
    assert caught.value.code == "source_unreachable"
    assert "in time" in caught.value.line()
    assert took < PATIENCE + 2


def test_a_packed_answer_is_not_unpacked(world):
    world.fill("acme", {"A": "1"})
    packed = gzip.compress(b" " * 10_000_000)
    world.server.fault("data/tenants/acme", 200, packed, Content_Encoding="gzip")
    found = resolve_one(place.source(world), world.place.ref("acme"))
    assert found.code == "source_incomplete"
    assert "packed" in found.line()


@pytest.mark.parametrize(
    "token", ["two\r\nlines: x", "\u20ac", "", 5, None, "x" * 10_000], ids=range(6)
)
def test_a_token_that_can_be_none_is_sent_to_nobody(world, token):
    for name in ("acme", "beta"):
        world.fill(name, {"A": name})
    policy = ["colibri-tenant-acme"]
    auth = {"client_token": token, "policies": policy, "num_uses": 1}
    source = place.source(world, concurrency=1)
    world.server.fault("token/create", 200, json.dumps({"auth": auth}).encode(), times=30)
    found = [one for _, one in source.resolve([world.place.ref("acme")])]
    assert [one.code for one in found] == ["source_incomplete"]
    world.server.heal()
    assert revealed(resolve_one(source, world.place.ref("beta"))) == {"A": "beta"}


@pytest.mark.parametrize(
    "ttl", ["1" + "0" * 4000, "-1", "1e400", "NaN", "true", '"x"', "{}"], ids=range(7)
)
def test_no_life_of_our_own_token_breaks_a_session(world, ttl):
    world.fill("acme", {"A": "1"})
    source = place.source(world)
    body = b'{"data":{"ttl":' + ttl.encode() + b"}}"
    world.server.fault("lookup-self", 200, body)
    assert revealed(resolve_one(source, world.place.ref("acme"))) == {"A": "1"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":{"data":{"A":"1"},"metadata":{"version":NaN,"created_time":"x"}}}',
        b'{"data":{"data":{"A":"1"},"metadata":{"version":' + b"1" * 5000 + b"}}}",
        b'{"data":{"data":{"A":"1"},"metadata":{"version":1,"created_time":["x"]}}}',
        b'{"data":{"data":{"A":"1"},"metadata":{"version":true,"created_time":"x"}}}',
        b'{"data":{"data":{"../../x":"1"},"metadata":{"version":1,"created_time":"x"}}}',
        b'{"data":{"data":{"LD_PRELOAD":"1"},"metadata":{"version":1,"created_time":"x"}}}',
        b'{"data":{"data":{"A":"\\u0000"},"metadata":{"version":1,"created_time":"x"}}}',
        b'{"data":{"data":{"A":"\\ud800"},"metadata":{"version":1,"created_time":"x"}}}',
        b'{"errors":["\\u001b[2J"],"data":"\\u001b[2J"}',
    ],
    ids=range(9),
)
def test_an_answer_that_makes_no_sense_delivers_nothing(world, body):
    world.fill("acme", {"A": "1"})
    world.server.fault("data/tenants/acme", 200, body)
    found = resolve_one(place.source(world), world.place.ref("acme"))
    assert isinstance(found, ColibriError)
    assert found.code in {
        "source_incomplete", "secret_name_refused", "secret_value_unrepresentable",
    }  # fmt: skip
    assert "\x1b" not in found.line()


def test_one_path_the_server_can_not_serve_is_one_tenants(world):
    """A broken entry in the server's storage: 500 for this path, whoever asks."""
    names = [f"t{i}" for i in range(12)]
    for name in names:
        world.fill(name, {"A": name})
    world.server.fault("data/tenants/t3", 500, b'{"errors":["decryption failed"]}')
    source = place.source(world, concurrency=1)
    found = {ref.name: one for ref, one in source.resolve([world.place.ref(n) for n in names])}
    assert found.pop("t3").code == "source_unreachable"
    assert {name: revealed(one)["A"] for name, one in found.items()} == {n: n for n in found}


@pytest.mark.parametrize(
    ("part", "status", "body"),
    [
        ("token/create", 200, b'{"auth":"x"}'),
        ("token/create", 200, b'{"auth":[1]}'),
        ("token/create", 200, b'{"auth":true}'),
        ("data/tenants/acme", 400, b'{"errors":5}'),
        ("data/tenants/acme", 403, b'{"errors":true,"warnings":{"a":1}}'),
        ("approle/login", 400, b'{"errors":1.5}'),
        ("approle/login", 200, b'{"auth":["x"]}'),
        ("lookup-self", 200, b'{"data":["ttl"]}'),
        ("sys/health", 200, b'["initialized","sealed"]'),
    ],
    ids=range(9),
)
def test_an_answer_of_another_shape_has_a_name(world, part, status, body):
    world.fill("acme", {"A": "1"})
    source = place.source(world)
    world.server.fault(part, status, body)
    found = resolve_one(source, world.place.ref("acme"))
    assert isinstance(found, ColibriError)
    assert found.code.startswith("source_")


@pytest.mark.parametrize("engine", ['["kv"]', '{"kv":1}', "null"], ids=range(3))
def test_a_mount_of_an_odd_kind_is_none(world, engine):
    admin = place.admin(world)
    world.server.fault("internal/ui/mounts", 200, b'{"data":{"type":%b}}' % engine.encode())
    with admin.client(None) as client, pytest.raises(ColibriError) as caught:
        client.kv_version()
    assert caught.value.code == "server_mismatch"


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":{"data":{"A":"1","A":"2"},"metadata":{"version":1,"created_time":"x"}}}',
        b'{"data":{"data":{"A":"1"},"data":{},"metadata":{"version":1,"created_time":"x"}}}',
        b'{"data":{"data":{"A":"1"},"metadata":{"version":1,"version":2,"created_time":"x"}}}',
    ],
    ids=range(3),
)
def test_an_answer_that_says_two_things_says_nothing(world, body):
    world.fill("acme", {"A": "1"})
    world.server.fault("data/tenants/acme", 200, body)
    assert resolve_one(place.source(world), world.place.ref("acme")).code == "source_incomplete"


def test_an_error_that_is_kept_keeps_nothing_of_what_was_read(world):
    """Of each tenant of a run; its frames have the answer, its request and the token."""
    names = [f"t{number}" for number in range(20)]
    for name in names:
        world.fill(name, {"A": name})
    world.server.fault("data/tenants/", 200, b" " * 1_100_000)
    source = place.source(world, max_answer_bytes=1_000_000)
    tracemalloc.start()
    try:
        found = [one for _, one in source.resolve([world.place.ref(name) for name in names])]
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {one.code for one in found} == {"source_incomplete"}
    assert kept < 5_000_000
