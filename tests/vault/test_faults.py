"""The fault table: what each fault of the server becomes, for whom, and that nothing leaks."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest

from tests.kit.stores import resolve_one, revealed
from tests.vault import place
from vault_svc.adapters.sources.vault import session as sessions
from vault_svc.errors import ColibriError

CANARY = "canary-4f1d-value"
BODY = json.dumps({"errors": [f"something about {CANARY}"]}).encode()
WHOLE = {"source_sealed", "source_unreachable", "source_rate_limited", "source_auth_failed"}


@pytest.fixture
def two(world):
    world.fill("acme", {"A": CANARY})
    world.fill("beta", {"A": "of beta"})
    return world


def both(world, **more):
    refs = [world.place.ref(name) for name in ("acme", "beta")]
    return [one for _, one in place.source(world, **more).resolve(refs)]


def lines(*errors) -> str:
    return "".join(f"{e.line()} {e!r} {e.__cause__!r} {e.__context__!r}" for e in errors)


# part of the path, status, body, code, word in the line
ONE = [
    ("data/tenants/acme", 403, BODY, "source_forbidden", "policy"),
    ("data/tenants/acme", 404, BODY, "collection_not_found", "acme"),
    ("data/tenants/acme", 400, BODY, "source_forbidden", "would not let"),
    ("data/tenants/acme", 405, BODY, "source_forbidden", "would not let"),
    ("data/tenants/acme", 200, b"", "source_incomplete", "no data"),
    ("data/tenants/acme", 200, b"{", "source_incomplete", "no document"),
    ("data/tenants/acme", 200, b"[]", "source_incomplete", "no document"),
    ("data/tenants/acme", 200, b'{"data":[]}', "source_incomplete", "no data"),
    ("data/tenants/acme", 200, b"[" * 100_000, "source_incomplete", "no document"),
    ("data/tenants/acme", 200, b"\xff\xfe", "source_incomplete", "no document"),
    ("data/tenants/acme", 200, b'{"data":{"A":"1"}}', "server_mismatch", "KV version 2"),
    ("data/tenants/acme", 200, b'{"data":{"data":{},"metadata":{}}}', "source_incomplete", "time"),
    ("data/tenants/acme", 412, BODY, "source_incomplete", "behind"),
]  # fmt: skip
ALL = [
    (503, b'{"errors":["Vault is sealed"]}', "source_sealed", "sealed"),
    (503, b'{"errors":["server is not yet initialized"]}', "source_sealed", "not initialised"),
    (500, b'{"errors":["local node not active but active cluster node not found"]}',
     "source_unreachable", "two leaders"),
    (500, BODY, "source_unreachable", "status 500"),
    (502, b"<html>", "source_unreachable", "status 502"),
    (503, BODY, "source_unreachable", "status 503"),
    (429, BODY, "source_rate_limited", "slow down"),
    (472, BODY, "source_unreachable", "disaster recovery"),
    (473, BODY, "source_unreachable", "standby"),
    (307, BODY, "source_unreachable", "standby"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "status", "body", "code", "word"), ONE)
def test_a_fault_of_one_read_is_one_tenants(two, part, status, body, code, word):
    two.server.fault(part, status, body)
    acme, beta = both(two)
    assert acme.code == code
    assert word in acme.line()
    assert revealed(beta) == {"A": "of beta"}
    assert CANARY not in lines(acme)


@pytest.mark.parametrize(("status", "body", "code", "word"), ALL)
def test_a_fault_of_the_server_is_everybodys_and_has_a_name(two, status, body, code, word):
    two.server.fault("token/create", status, body)
    acme, beta = both(two)
    assert (acme.code, beta.code) == (code, code)
    assert word in acme.line()
    assert CANARY not in lines(acme, beta)


@pytest.mark.parametrize(("status", "body", "code", "word"), ALL)
def test_what_passes_is_waited_out(two, status, body, code, word):
    del code, word
    two.server.fault("data/tenants/acme", status, body, times=2)
    acme, beta = both(two)
    assert revealed(acme) == {"A": CANARY}
    assert revealed(beta) == {"A": "of beta"}


def test_a_token_whose_use_was_lost_with_the_answer_is_not_tried_again(two):
    """The read is repeated with a new token: the first one is used up at the server."""
    two.server.fault("data/tenants/acme", body=b'{"data":{"data":{"A":"x', cut=True, times=1)
    acme, _ = both(two)
    assert revealed(acme) == {"A": CANARY}
    assert two.server.asked("token/create") == 3


def test_sealed_in_the_middle_of_a_batch_what_was_read_stays_and_the_rest_waits_once(world):
    names = [f"t{i:02d}" for i in range(40)]
    for name in names:
        world.fill(name, {"A": name})
    world.server.fault("token/create", 503, b'{"errors":["Vault is sealed"]}', after=20)
    before = time.monotonic()
    found = [
        one
        for _, one in place.source(world, patience_seconds=1.0, concurrency=4).resolve(
            [world.place.ref(name) for name in names]
        )
    ]
    assert time.monotonic() - before < 5
    good = [one for one in found if not isinstance(one, ColibriError)]
    assert len(good) == 20
    assert {one.code for one in found if isinstance(one, ColibriError)} == {"source_sealed"}
    assert world.server.asked("token/create") < 20 + 4 * 12


def test_retry_after_is_honoured_within_the_patience(two):
    two.server.fault("data/tenants/acme", 429, BODY, times=1, Retry_After="1")
    before = time.monotonic()
    acme, _ = both(two, patience_seconds=5)
    assert time.monotonic() - before >= 1
    assert revealed(acme) == {"A": CANARY}


def test_a_longer_wait_than_the_patience_is_not_begun(two):
    two.server.fault("token/create", 429, BODY, Retry_After="3600")
    before = time.monotonic()
    acme, _ = both(two)
    assert acme.code == "source_rate_limited"
    assert time.monotonic() - before < 2


def test_a_sealed_or_new_server_is_said_before_the_login(two):
    source = place.source(two)
    two.server.sealed = True
    assert (
        resolve_one(source, two.place.ref("acme"))
        .line()
        .startswith("source_sealed: the server is sealed")
    )
    two.server.sealed, two.server.uninitialised = False, True
    assert "not initialised" in resolve_one(source, two.place.ref("acme")).line()
    assert two.server.asked("approle/login") == 0


@pytest.mark.parametrize(
    ("version", "code"), [("1.9.8", "server_mismatch"), ("0.11.0", "server_mismatch")]
)
def test_a_server_too_old_for_the_role_is_refused(two, version, code):
    two.server.version = version
    assert {one.code for one in both(two)} == {code}


@pytest.mark.parametrize("version", ["1.10.0", "1.21.2+ent", "2.6.2", "2.0.0-HEAD", "odd"])
def test_others_are_read(two, version):
    two.server.version = version
    assert revealed(both(two)[0]) == {"A": CANARY}


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"initialized":"yes","sealed":false}'])
def test_something_that_is_no_vault_is_a_mismatch(two, body):
    two.server.fault("sys/health", 200, body)
    assert {one.code for one in both(two)} <= {"server_mismatch", "source_incomplete"}


def test_an_orchestrators_token_that_ended_is_replaced_once(two):
    """Revoked behind our back, between the login and the first read."""
    source = place.source(two)
    with source.sessions.open(source.account()) as session:
        del two.server.state.tokens[session.client.wire.token]
        assert session.call(lambda client: client.names()) == ["acme", "beta"]
    assert two.server.asked("approle/login") == 2


@pytest.fixture
def clock(monkeypatch):
    """Turn the session's clock by hand."""
    turned = SimpleNamespace(now=1000.0, sleep=lambda seconds: None)
    turned.monotonic = lambda: turned.now
    monkeypatch.setattr(sessions, "time", turned)
    return turned


def test_an_orchestrators_token_is_renewed_ahead_of_its_end(two, clock):
    source = place.source(two)
    with source.sessions.open(source.account()) as session:
        first = session.client.wire.token
        clock.now += 1200 * 0.6
        assert session.client.wire.token == first
        assert two.server.asked("renew-self") == 0
        clock.now += 1200 * 0.1
        assert session.client.wire.token == first
    assert two.server.asked("renew-self") == 1
    assert two.server.asked("approle/login") == 1


def test_one_that_cannot_be_renewed_is_replaced_by_a_new_login(two, clock):
    source = place.source(two)
    with source.sessions.open(source.account()) as session:
        two.server.state.tokens[session.client.wire.token].renewable = False
        clock.now += 1200 * 0.7
        assert session.call(lambda client: client.names()) == ["acme", "beta"]
    assert two.server.asked("approle/login") == 2


def test_an_orchestrators_policy_that_lacks_something_says_what(two):
    two.must("PUT", "sys/policies/acl/colibri-orchestrator", {"policy": two.must(
        "GET", "sys/policies/acl/colibri-orchestrator")["data"]["policy"].replace(
        "auth/token/create/colibri-tenant", "auth/token/create/other")})  # fmt: skip
    acme, _ = both(two)
    assert acme.code == "source_forbidden"
    assert "mint a tenant's token" in acme.line()
    assert two.server.asked("approle/login") == 1


def test_an_answer_over_the_bound_is_cut_off(two):
    two.fill("big", {"A": "x" * 100_000})
    ref = two.place.ref("big")
    found = resolve_one(place.source(two, max_answer_bytes=50_000), ref)
    assert found.code == "source_incomplete"
    assert "vault_max_answer_bytes" in found.hint


def test_a_server_that_never_answers_is_given_up(two):
    source = place.source(two, timeout_seconds=0.3, patience_seconds=0.01)
    two.server.slowness = 1.0
    before = time.monotonic()
    found = resolve_one(source, two.place.ref("acme"))
    assert found.code == "source_unreachable"
    assert time.monotonic() - before < 3


def test_no_redirect_is_followed(two):
    two.server.fault("token/create", 307, b"", Location=f"{two.url}/v1/elsewhere")
    assert both(two)[0].code == "source_unreachable"
    assert two.server.asked("elsewhere") == 0


def test_connections_are_used_again_and_requests_at_once_are_bounded(world):
    names = [f"t{i:02d}" for i in range(30)]
    for name in names:
        world.fill(name, {"A": name})
    source = place.source(world, concurrency=4)
    source.account()
    world.server.connections = world.server.most_at_once = 0
    world.server.slowness = 0.005
    found = list(source.resolve([world.place.ref(name) for name in names]))
    assert [revealed(one)["A"] for _, one in found] == names
    assert world.server.connections <= 4 + 1
    assert 2 <= world.server.most_at_once <= 4


def test_a_reader_that_stops_early_leaves_no_session_and_reads_no_further(world):
    names = [f"t{i:03d}" for i in range(200)]
    for name in names:
        world.put(name, {"A": name})
    world.install(*names)
    source = place.source(world, concurrency=2)
    stream = source.resolve([world.place.ref(name) for name in names])
    next(stream)
    stream.close()
    assert world.server.asked("/data/tenants/") < 200 + 30  # 200 writes, and what was read ahead
    assert world.server.log[-1] == ("POST", "auth/token/revoke-self")
