"""The real bw reads a world: what holds for the double and for a real server alike.

tests/live/vaultwarden runs these same tests over a real Vaultwarden.
"""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.kit import bw
from tests.kit.bw_client import Client
from tests.kit.vaultwarden import Access, Field, World
from tests.kit.vaultwarden.double import AWKWARD_PASSWORD


def ready(world: World, home: Path, version: str = bw.OLDER) -> Client:
    return Client(bw.installed(version), world, home).ready()


def by_name(said: list[dict]) -> dict[str, dict]:
    assert len({item["name"] for item in said}) == len(said)
    return {item["name"]: item for item in said}


@pytest.mark.parametrize(
    ("version", "kdf"),
    [
        (bw.OLDER, "pbkdf2"),
        (bw.NEWEST, "argon2id"),
        pytest.param(bw.OLDER, "argon2id", marks=pytest.mark.full),
        pytest.param(bw.NEWEST, "pbkdf2", marks=pytest.mark.full),
    ],
)
def test_bw_logs_in_unlocks_syncs_and_reads(version, kdf, new_world, tmp_path):
    world = new_world(kdf=kdf)
    acme = world.add_collection("acme")
    world.add_login(acme, "API_KEY", "säcret")
    world.add_login(acme, "OLD_KEY", "older", own_key=False)
    client = ready(world, tmp_path, version)
    assert client.run("sync", "-f", BW_SESSION=client.session).out == "Syncing complete."
    (organization,) = client.list("organizations").json()
    assert organization["id"] == world.organization.id
    assert (organization["name"], organization["status"], organization["type"]) == ("Acme", 2, 2)
    (collection,) = client.list("collections", organizationid=organization["id"]).json()
    assert (collection["id"], collection["name"]) == (acme, "acme")
    said = client.list("items", organizationid=organization["id"])
    assert said.err == ""
    passwords = {name: each["login"]["password"] for name, each in by_name(said.json()).items()}
    assert passwords == {"API_KEY": "säcret", "OLD_KEY": "older"}


@pytest.mark.parametrize(
    ("version", "unlocks"),
    [pytest.param(bw.OLDER, [200], marks=pytest.mark.full), (bw.NEWEST, [500, 200])],
)
def test_bw_serves_on_a_socket_pair_without_an_address(version, unlocks, new_world, tmp_path):
    world = new_world()
    world.add_login(world.add_collection("acme"), "API_KEY", "säcret")
    client = Client(bw.installed(version), world, tmp_path)
    client.config()
    assert client.login().status == 0
    with client.serve() as served:
        assert served.unlock("wrong")[0] == 400
        assert [served.unlock(world.password)[0] for _ in unlocks] == unlocks
        (item,) = served.list("items", f"organizationId={world.organization.id}")
        assert (item["name"], item["login"]["password"]) == ("API_KEY", "säcret")


def test_every_kind_of_item_arrives_as_it_was_made(new_world, tmp_path):
    world = new_world()
    acme, other = world.add_collection("Ünïcode/a b"), world.add_collection("other")
    login = world.add_login(
        acme, "LOGIN", "p\nq", username="u", totp="JBSWY3DP", uris=["https://a.example"],
        notes="n", fields=[Field("hid", "den"), Field("sho", "wn", hidden=False)],
    )  # fmt: skip
    world.attach(login, "fïle.txt", b"x" * 2000)
    world.add_note(acme, "NOTE", "A=1\r\n# ü\n", own_key=False)
    world.add_card(acme, "CARD", "4111")
    world.add_identity(acme, "IDENTITY", "Person")
    world.add_ssh_key(acme, "SSH", "PRIVATE")
    world.add_login([acme, other], "SHARED", "both")
    world.add_personal("MINE", "own")
    world.trash(world.add_login(acme, "GONE", "trash"))
    client = ready(world, tmp_path)
    said = client.list("items")
    found = by_name(said.json())
    assert said.err == ""
    kinds = {"LOGIN": 1, "NOTE": 2, "CARD": 3, "IDENTITY": 4, "SSH": 5, "SHARED": 1, "MINE": 1}
    assert {name: item["type"] for name, item in found.items()} == kinds
    assert found["LOGIN"]["login"]["password"] == "p\nq"
    assert found["LOGIN"]["login"]["uris"][0]["uri"] == "https://a.example"
    assert [(f["type"], f["value"]) for f in found["LOGIN"]["fields"]] == [(1, "den"), (0, "wn")]
    (attachment,) = found["LOGIN"]["attachments"]
    assert (attachment["fileName"], attachment["sizeName"]) == ("fïle.txt", "2.02 KB")
    assert found["NOTE"]["notes"] == "A=1\r\n# ü\n"
    assert found["CARD"]["card"]["number"] == "4111"
    assert found["IDENTITY"]["identity"]["lastName"] == "Person"
    assert found["SSH"]["sshKey"]["privateKey"] == "PRIVATE"
    assert set(found["SHARED"]["collectionIds"]) == {acme, other}
    assert found["MINE"].get("organizationId") is None


@pytest.mark.full
def test_a_collection_that_is_not_granted_is_not_seen_and_a_hidden_one_hides(new_world, tmp_path):
    world = new_world()
    secret = world.add_collection("secret", access=Access.NONE)
    hidden = world.add_collection("hidden", access=Access.HIDDEN)
    seen = world.add_collection("seen")
    world.add_login(secret, "NOT_MINE", "x")
    world.add_login([seen, secret], "HALF_MINE", "y")
    world.add_login(hidden, "HIDDEN", "z", fields=[Field("hid", "den")])
    client = ready(world, tmp_path)
    found = by_name(client.list("items").json())
    names = {each["name"] for each in client.list("collections").json()}
    assert names == {"hidden", "seen"}
    assert set(found) == {"HALF_MINE", "HIDDEN"}
    # What bw.md 4.5 calls fully silent: no error, and no value.
    assert found["HIDDEN"]["login"].get("password") is None
    assert found["HIDDEN"]["fields"][0].get("value") is None
    assert found["HALF_MINE"]["collectionIds"] == [seen]


@pytest.mark.full
def test_a_password_of_awkward_characters_unlocks_by_pipe_and_by_socket(new_world, tmp_path):
    world = new_world(password=AWKWARD_PASSWORD)
    world.add_collection("acme")
    with ready(world, tmp_path).serve() as served:
        assert served.unlock(world.password)[0] == 200


def test_the_newest_cli_stumbles_once_where_the_key_id_route_is_missing(new_world, tmp_path):
    client = Client(bw.installed(bw.NEWEST), new_world(), tmp_path)
    client.config()
    assert "KeyIdBackfillError" in client.login().err
    first, second = client.unlock(), client.unlock()
    assert (first.status, second.status) == (1, 0)
    assert "KeyIdBackfillError" in first.err
    assert len(base64.b64decode(second.out)) == 64


@pytest.mark.full
def test_changes_reach_the_next_sync(new_world, tmp_path):
    world = new_world()
    acme, other = world.add_collection("acme"), world.add_collection("other")
    kept, moved = world.add_login(acme, "KEPT", "1"), world.add_login(acme, "MOVED", "2")
    gone = world.add_login(acme, "GONE", "3")
    client = ready(world, tmp_path)
    world.rename_collection(acme, "acme two")
    world.change(kept, password="one", notes="n")
    world.move(moved, [other])
    world.delete(gone)
    client.run("sync", "-f", BW_SESSION=client.session)
    names = {each["id"]: each["name"] for each in client.list("collections").json()}
    found = by_name(client.list("items").json())
    assert names == {acme: "acme two", other: "other"}
    assert set(found) == {"KEPT", "MOVED"}
    assert (found["KEPT"]["login"]["password"], found["KEPT"]["notes"]) == ("one", "n")
    assert found["MOVED"]["collectionIds"] == [other]


@pytest.mark.full
@pytest.mark.parametrize("change", ["rotate_client_secret", "change_password"])
def test_a_replaced_credential_ends_the_session_that_had_it(change, new_world, tmp_path):
    world = new_world()
    client = ready(world, tmp_path)
    if change == "rotate_client_secret":
        world.rotate_client_secret()
        said = client.run("sync", "-f", BW_SESSION=client.session)
        assert "Incorrect client_secret" in said.err
    else:
        world.change_password("another password")
        # Still logged in, with a token that is no good: bw asks for one call, and logs itself out.
        said = client.run("list", "org-collections", "--organizationid", world.organization.id,
                          BW_SESSION=client.session)  # fmt: skip
        assert client.run("status").json()["status"] == "unauthenticated"
    assert (said.status, said.out) == (1, "")
