"""The write side: by an operator's token, and nobody's write is lost."""

from __future__ import annotations

import threading

import pytest

from tests.kit.stores import resolve_one, revealed, values
from tests.vault import place
from vault_svc.adapters.sources.vault import writer as writers
from vault_svc.errors import ColibriError


def refused(call) -> ColibriError:
    with pytest.raises(ColibriError) as caught:
        call()
    return caught.value


def test_two_writers_at_once_lose_nothing(world):
    world.fill("acme", {"BOTH": "0"})
    errors: list[BaseException] = []

    def write(name: str) -> None:
        try:
            for number in range(4):
                place.writer(world).change("acme", values(**{f"{name}{number}": "x"}))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("A", "B")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = revealed(resolve_one(place.source(world), world.place.ref("acme")))
    assert len(found) == 9


def test_a_writer_that_never_gets_through_says_busy(world, monkeypatch):
    world.fill("acme", {"A": "1"})
    real = writers._write

    def overtaken(client, collection, data, version):
        world.put("acme", {"A": f"by another {version}"})
        return real(client, collection, data, version)

    monkeypatch.setattr(writers, "_write", overtaken)
    assert refused(lambda: place.writer(world).change("acme", values(A="2"))).code == "busy"


def test_a_deleted_collection_is_written_again_only_when_it_may_be_made(world):
    world.fill("acme", {"A": "1", "B": "2"})
    world.newest("acme", "delete")
    writer = place.writer(world)
    assert refused(lambda: writer.change("acme", values(A="3"))).code == "secret_missing"
    _, version = writer.change("acme", values(A="3"), create=True)
    assert version == 2
    assert revealed(resolve_one(place.source(world), world.place.ref("acme"))) == {"A": "3"}


def test_a_token_that_may_not_is_told_so_and_changes_nothing(world):
    world.fill("acme", {"A": "1"})
    source = place.source(world)
    with source.sessions.open(source.account()) as session:
        writer = place.writer(world, session.client.wire.token)
        for call in (
            lambda: writer.change("acme", values(A="2")),
            lambda: writer.create("beta"),
            lambda: writer.infos("acme"),
        ):
            error = refused(call)
            assert error.code == "source_forbidden"
            assert "operator's token" in error.line()
    assert revealed(resolve_one(source, world.place.ref("acme"))) == {"A": "1"}


def test_version_one_is_not_written(new_world):
    world = new_world(version=1)
    world.fill("acme", {"A": "1"})
    assert refused(lambda: place.writer(world).change("acme", values(A="2"))).code == "usage"
    assert refused(lambda: place.writer(world).create("beta")).code == "usage"


def test_one_variable_too_many_is_refused(world):
    rules = place.Rules(max_secrets=2)
    world.fill("acme", {"A": "1", "B": "2"})
    error = refused(lambda: place.writer(world, rules=rules).change("acme", values(C="3")))
    assert error.code == "secret_value_unrepresentable"


def test_infos_say_when_and_how_long_and_no_value(world):
    world.fill("acme", {"A": "canary", "N": 12})
    infos = place.writer(world).infos("acme")
    assert [(info.name, info.length) for info in infos] == [("A", 6), ("N", 2)]
    assert all(info.set_at.endswith("Z") and len(info.set_at) == 24 for info in infos)
    assert "canary" not in repr(infos)


def test_what_is_more_than_the_server_takes_is_said_so(world):
    if world.server:
        words = b'{"errors":["refused JSON input due to high complexity: exceeded"]}'
        world.server.fault("data/tenants/acme", 400, words, method="POST")
        names = range(2)
    else:
        names = range(60_000)
    big = values(**{f"K{i}": "x" for i in names})
    rules = place.Rules(max_secrets=100_000)
    error = refused(lambda: place.writer(world, rules=rules).change("acme", big, create=True))
    assert error.code == "secret_value_unrepresentable"
    assert "max_request_json_strings" in error.hint
