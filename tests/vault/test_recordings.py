"""What a real server answered, recorded (decision 27): against the double and the client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import responses

from tests.kit.vault import World
from tests.vault import place, scenario
from vault_svc.adapters.sources.vault import wire
from vault_svc.adapters.sources.vault.client import Client
from vault_svc.adapters.sources.vault.places import Place
from vault_svc.adapters.sources.vault.refusal import Refusal
from vault_svc.adapters.sources.vault.session import trust
from vault_svc.errors import ColibriError

FILES = sorted(Path(__file__).with_name("recordings").glob("*.json"))
RECORDED = {file.stem: json.loads(file.read_text()) for file in FILES}
URL = "https://vault.example.org:8200"
EXCHANGE = "vault_svc.adapters.sources.vault.bounded.OwnTrust.exchange"
# Beyond the scenario: a sealed server answers nothing of it.
APART = {"sealed", "sealed health"}


def answers(recording: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in RECORDED[recording]["answers"]}


@pytest.mark.parametrize("recording", RECORDED)
def test_a_recording_says_where_it_is_from_and_holds_no_secret(recording):
    whole = RECORDED[recording]
    assert whole["tool"]
    assert whole["command"] == "python -m tests.live.vault.capture"
    text = json.dumps(whole)
    assert len(text) < 40_000
    for word in ("hvs.", '"s.', "/work/", "/tmp/"):
        assert word not in text


def shape(found: Any) -> Any:
    """Return the kinds of an answer: what a client can tell apart."""
    if isinstance(found, dict):
        return {name: shape(value) for name, value in found.items()}
    return type(found).__name__ if found is not None else "nothing"


def unlike(mine: Any, real: Any, where: str = "") -> list[str]:
    """Return where the double's answer has something else than the real one's."""
    if isinstance(mine, dict) and isinstance(real, dict):
        return [
            line
            for name, value in mine.items()
            for line in (
                unlike(value, real[name], f"{where}.{name}")
                if name in real
                else [f"{where}.{name} is not in the real answer"]
            )
        ]
    same = shape(mine) == shape(real) or mine is None or real is None
    return [] if same else [f"{where}: {shape(mine)}, really {shape(real)}"]


@pytest.mark.parametrize("recording", RECORDED)
def test_the_double_answers_as_the_real_one_did(recording, double):
    world = World(double.url, double.root, mount="kv-of-the-double", server=double).prepared()
    told = {each["name"]: each for each in scenario.played(world)}
    real = answers(recording)
    assert told.keys() == real.keys() - APART
    wrong = []
    for name, mine in told.items():
        theirs = real[name]
        if mine["status"] != theirs["status"]:
            wrong.append(f"{name}: {mine['status']}, really {theirs['status']}")
        elif mine["status"] < 300:
            wrong += unlike(mine["answer"], theirs["answer"], name)
        else:
            one, other = refusal(mine), refusal(theirs)
            if (one.words, one.gone) != (other.words, other.gone):
                wrong.append(f"{name}: {one.words} {one.gone}, really {other.words} {other.gone}")
    assert wrong == []


def refusal(answer: dict[str, Any]) -> Refusal:
    return Refusal(answer["status"], json.dumps(answer["answer"]).encode())


def test_a_double_that_differs_is_noticed():
    assert unlike({"data": {"x": 1}}, {"data": {}}) == [".data.x is not in the real answer"]
    assert unlike({"data": {"x": 1}}, {"data": {"x": "1"}}) == [".data.x: int, really str"]


@pytest.fixture
def client():
    session = wire.session(trust(""), place.options())
    return Client(wire.Wire(session, place.options(), URL, token="t"), Place("MOUNT", "tenants", 2))


@pytest.fixture
def replayed():
    """Answer as recorded, where a request would leave: no socket is opened."""
    with responses.RequestsMock(False, target=EXCHANGE) as server:

        def add(recording: str, name: str, path: str, method: str = "GET") -> None:
            answer = answers(recording)[name]
            body = answer["answer"]
            server.add(method, f"{URL}/v1/{path}", status=answer["status"],
                       body="" if body is None else json.dumps(body))  # fmt: skip

        yield add


DATA = "MOUNT/data/tenants/acme"


@pytest.mark.parametrize("recording", RECORDED)
def test_every_success_is_understood(recording, client, replayed):
    replayed(recording, "health", "sys/health")
    replayed(recording, "mount", "sys/internal/ui/mounts/MOUNT")
    replayed(recording, "list", "MOUNT/metadata/tenants", "LIST")
    replayed(recording, "all versions", "MOUNT/detailed-metadata/tenants", "LIST")
    replayed(recording, "metadata", "MOUNT/metadata/tenants/acme")
    replayed(recording, "data", DATA)
    replayed(recording, "policy", "sys/policies/acl/colibri-tenant-acme")
    replayed(recording, "lookup", "auth/token/lookup-self")
    assert client.health().initialised
    assert client.kv_version() == 2
    assert client.names() == ["acme", "gone"]
    found = client.read("acme")
    assert found.data == {"API_KEY": "first"}
    assert client.revision("acme") == found.revision == client.revisions()[0]["acme"]
    assert found.revision.startswith("1@20")
    assert client.has_policy("acme")
    assert client.lookup()["ttl"] > 0


@pytest.mark.parametrize("recording", RECORDED)
@pytest.mark.parametrize(
    ("name", "status", "gone", "word"),
    [
        ("deleted data", 404, True, ""),
        ("destroyed data", 404, True, ""),
        ("data of nothing", 404, False, ""),
        ("data in no mount", 404, False, "no_route"),
        ("version one's path", 404, False, "versioned"),
        ("another's data", 403, False, ""),
        ("data by a used token", 403, False, ""),
        ("data by the orchestrator", 403, False, ""),
        ("sealed", 503, False, "sealed"),
    ],
)
def test_every_refusal_of_a_read_is_told_apart(
    recording, client, replayed, name, status, gone, word
):
    replayed(recording, name, DATA)
    with pytest.raises(Refusal) as caught:
        client.read("acme")
    assert (caught.value.status, caught.value.gone) == (status, gone)
    assert word in caught.value.words or not word
    assert not caught.value.args or "error" not in str(caught.value)


@pytest.mark.parametrize("recording", RECORDED)
def test_a_mint_that_gave_something_else_is_refused(recording, client, replayed):
    """The recorded token is acme's: whoever asked for another's must not use it."""
    replayed(recording, "mint", "auth/token/create/colibri-tenant", "POST")
    with pytest.raises(ColibriError) as caught:
        client.mint("other")
    assert caught.value.code == "source_forbidden"
    assert client.mint("acme") == "hidden"


@pytest.mark.parametrize("recording", RECORDED)
def test_a_sealed_servers_health_says_so(recording, client, replayed):
    replayed(recording, "sealed health", "sys/health")
    assert client.health().sealed
