"""The double answers as a real Vaultwarden does: same filling, same questions, same shapes."""

from __future__ import annotations

import uuid

import pytest

from tests.kit.vaultwarden import Double, Status, World
from tests.live.vaultwarden import process
from tests.live.vaultwarden.api import Api, key_form
from tests.live.vaultwarden.filling import fill, roles, seen
from tests.live.vaultwarden.real import PBKDF2, Real
from tests.live.vaultwarden.shape import differences, shape


@pytest.fixture
def both(new_world, tmp_path):
    with Double(tmp_path, kdf=PBKDF2) as double:
        yield double, new_world()


def assert_same(ask, double: World, real: World) -> None:
    assert differences(shape(ask(double)), shape(ask(real))) == []


@pytest.mark.parametrize("ask", [seen, roles])
def test_what_a_client_sees_is_the_same(ask, both):
    assert_same(lambda world: ask(fill(world)), *both)


CHANGES = {
    "secret": {"client_secret": "wrong"},
    "empty secret": {"client_secret": ""},
    "id": {"client_id": f"user.{uuid.UUID(int=0)}"},
    "malformed id": {"client_id": "nobody"},
    "organisation's id": {"client_id": f"organization.{uuid.UUID(int=0)}"},
    "organisation's scope": {
        "client_id": f"organization.{uuid.UUID(int=0)}",
        "scope": "api.organization",
    },
    "scope": {"scope": "other"},
    "grant": {"grant_type": "other"},
    "no secret": {"client_secret": None},
    "no scope": {"scope": None},
    "no device": {"deviceIdentifier": None},
    "no device name": {"deviceName": None},
    "no device type": {"deviceType": None},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_token_is_refused_in_the_same_words(change, both):
    def ask(world: World):
        form = {**key_form(world.client_id, world.client_secret), **CHANGES[change]}
        sent = {name: value for name, value in form.items() if value is not None}
        status, document = Api(world.url, world.ca_file).token(sent)
        assert status == 400
        return document

    assert_same(ask, *both)


@pytest.mark.parametrize("accept", ["application/json", "*/*"])
@pytest.mark.parametrize("token", ["", "Bearer a.b.c", "Basic abc"])
def test_a_call_without_a_good_token_is_refused_the_same_way(token, accept, both):
    def ask(world: World):
        headers = {"Accept": accept, **({"Authorization": token} if token else {})}
        return Api(world.url, world.ca_file).ask("GET", "/api/sync", b"", headers)

    assert_same(ask, *both)


ROUTES = (
    ("GET", "/api/nothing"),
    ("GET", "/nothing"),
    ("POST", "/api/accounts/key-management/user-key-id"),
    ("POST", "/events/collect"),
    ("GET", "/api/organizations/{organization}/collections"),
    ("GET", "/api/organizations/{user}/collections"),
)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_what_a_plain_user_may_not_have_is_refused_the_same_way(method, path, both):
    def ask(world: World):
        api = Api(world.url, world.ca_file)
        api.log_in_by_key(world.client_id, world.client_secret)
        place = path.format(organization=world.organization.id, user=world.user_id)
        body = b"[]" if method == "POST" else b""
        return api.ask(method, place, body, {"Content-Type": "application/json"})

    assert_same(ask, *both)


@pytest.mark.parametrize("change", ["rotate_client_secret", "change_password"])
def test_a_replaced_credential_ends_the_same_things(change, both):
    def ask(world: World):
        api, old = Api(world.url, world.ca_file), world.client_secret
        api.log_in_by_key(world.client_id, old)
        if change == "rotate_client_secret":
            world.rotate_client_secret()
        else:
            world.change_password("another password")
        form = key_form(world.client_id, old)
        anew = api.token(key_form(world.client_id, world.client_secret))[0]
        return api.ask("GET", "/api/accounts/revision-date")[0], api.token(form)[0], anew

    assert_same(ask, *both)


def test_too_many_logins_are_refused_in_the_words_of_our_fault(tmp_path):
    binary = process.binary()
    if binary is None:
        pytest.skip("needs a server of its own: set VAULTWARDEN_BIN")
    homes = [tmp_path / name for name in ("real", "double")]
    for home in homes:
        home.mkdir()
    with (
        process.Vaultwarden(binary, homes[0], login_burst=3) as running,
        Real(running.url, running.ca_file, organization=None) as real,
        Double(homes[1]) as double,
    ):
        double.faults.at("token", Status(429, "Too many login requests"))
        form = key_form(real.client_id, "wrong")
        api = Api(real.url, real.ca_file)
        answers = [api.token(form) for _ in range(4)]
        assert [status for status, _ in answers][-1] == 429
        assert answers[-1] == Api(double.url, double.ca_file).token(form)
