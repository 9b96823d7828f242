"""The source over the real bw: what is delivered, to the byte, and what is refused.

Runs against the double here and against a real Vaultwarden in tests/live/vaultwarden.
"""

from __future__ import annotations

import pytest

from tests.kit import bw
from tests.kit.cli import Cli
from tests.kit.stores import revealed
from tests.kit.vaultwarden import Access, Field, World
from tests.kit.vaultwarden.double import AWKWARD_PASSWORD
from tests.vaultwarden import place
from vault_svc.adapters.sources.vaultwarden.options import Rules
from vault_svc.domain.secret import CollectionRef
from vault_svc.errors import ColibriError

HEADER = (
    b"# Written by colibri, profile shell, only for shells. Changes made here are overwritten.\n"
)
WAYS = [
    (bw.NEWEST, "serve", "argon2id"),
    (bw.OLDER, "cli", "pbkdf2"),
    *(
        pytest.param(*way, marks=pytest.mark.full)
        for way in ((bw.OLDER, "serve", "pbkdf2"), (bw.NEWEST, "cli", "argon2id"))
    ),
]


def source_of(world: World, home, *, version: str = bw.OLDER, rules=None, **more):
    made = place.account(bw.installed(version), world)
    return place.source(lambda: made, place.options(home, **more), rules)


def resolved(source, *refs: CollectionRef) -> list:
    return [found for _, found in source.resolve(refs)]


@pytest.mark.parametrize(("version", "transport", "kdf"), WAYS)
def test_from_registration_to_the_bytes_in_the_jail(new_world, state_dir, version, transport, kdf):
    world = new_world(kdf=kdf)
    name = "Kunde Ä/β 😀"
    acme = world.add_collection(name)
    other = world.add_collection("other")
    login = world.add_login(acme, "API_KEY", 'säcret $x `y` "z"', username="u",
                            uris=["https://a.example"], fields=[Field("hid", "den")])  # fmt: skip
    world.attach(login, "file.txt", b"attached")
    world.add_login(acme, "OLD_KEY", "own key: none", own_key=False)
    world.add_note(acme, "mail", "SMTP_HOST=mail.example\n# c\nSMTP_PASS='x y'\n")
    world.add_card(acme, "CARD", "4111")
    world.trash(world.add_login(acme, "GONE", "trash"))
    world.add_login(other, "API_KEY", "of the other tenant")
    world.add_personal("MINE", "own")
    cli = Cli(state_dir, {"COLIBRI_BW_TRANSPORT": transport}).ready()
    place.store_login(cli, bw.installed(version), world)
    told = ("--source", "vaultwarden", "--collection", name, "--profile", "shell")
    cli.register("acme", *told)
    row = cli.must("show-tenant", "acme", "--json").json["tenant"]
    assert (row["collection_id"], row["collection"]) == (acme, name)
    said = cli.must("-v", "provision", "acme")
    delivered = (cli.jail_root("acme") / "home/app/.env").read_bytes()
    assert delivered == HEADER + (
        b"API_KEY='s\xc3\xa4cret $x `y` \"z\"'\n"
        b"OLD_KEY='own key: none'\n"
        b"SMTP_HOST='mail.example'\n"
        b"SMTP_PASS='x y'\n"
    )
    assert "CARD" in said.stderr
    assert place.left_behind(place.at(cli)) == []
    assert place.still_running(place.at(cli)) == []


@pytest.mark.parametrize("transport", ["serve", "cli"])
def test_a_password_with_every_awkward_character(new_world, state_dir, transport):
    world = new_world(password=AWKWARD_PASSWORD)
    acme = world.add_collection("acme")
    world.add_login(acme, "KEY", "value")
    source = source_of(world, state_dir, transport=transport)
    (found,) = resolved(source, CollectionRef(acme, "acme"))
    assert revealed(found) == {"KEY": "value"}


def test_one_session_serves_any_number_and_each_fails_alone(new_world, state_dir):
    world = new_world()
    good, empty, twice, shared, misnamed, bare, hidden = (
        world.add_collection(name)
        for name in ("good", "empty", "twice", "shared", "misnamed", "bare", "hidden")
    )
    partner = world.add_collection("partner")
    world.add_login(good, "KEY", "good")
    world.add_login(twice, "KEY", "1")
    world.add_note(twice, "note", "KEY=2")
    both = world.add_login([shared, partner], "KEY", "both")
    typo = world.add_login(misnamed, "api-key", "x")
    world.add_login(misnamed, "KEY", "misnamed")
    world.add_login(bare, "KEY", "")
    world.add_login(hidden, "KEY", "hidden")
    world.grant(hidden, Access.HIDDEN)
    renamed = CollectionRef(good, "was called otherwise")
    refs = {
        "good": good, "empty": empty, "twice": twice, "shared": shared, "partner": partner,
        "misnamed": misnamed, "bare": bare, "hidden": hidden,
    }  # fmt: skip
    asked = [CollectionRef(collection, name) for name, collection in refs.items()]
    asked += [renamed, CollectionRef(world.user_id, "gone"), CollectionRef(world.user_id, "good")]
    found = resolved(source_of(world, state_dir), *asked)
    codes = [one.code if isinstance(one, ColibriError) else revealed(one) for one in found]
    assert codes == [
        {"KEY": "good"}, {}, "secret_ambiguous", "secret_shared", "secret_shared",
        "secret_name_refused", "secret_value_unrepresentable", "source_forbidden",
        "server_mismatch", "collection_not_found", "server_mismatch",
    ]  # fmt: skip
    rules = Rules(ignored_items=frozenset({typo}), shared_items=frozenset({both}))
    again = resolved(source_of(world, state_dir, rules=rules), asked[3], asked[4], asked[5])
    assert [revealed(one) for one in again] == [
        {"KEY": "both"}, {"KEY": "both"}, {"KEY": "misnamed"},
    ]  # fmt: skip


def test_collections_are_located_by_exact_name_or_id_in_our_organisation_alone(
    new_world, state_dir
):
    world = new_world()
    acme = world.add_collection("acme")
    double_1, double_2 = world.add_collection("double"), world.add_collection("double")
    elsewhere = world.add_organization("Elsewhere")
    foreign = world.add_collection("foreign", organization=elsewhere)
    source = source_of(world, state_dir)
    content = source.content(items=False)
    source = place.source(source.account, source.sessions.options)
    object.__setattr__(source, "sessions", Answered(content, source, world))
    assert source.locate("acme") == source.locate(acme) == CollectionRef(acme, "acme")
    assert {source.locate(one).collection_id for one in (double_1, double_2)} == {
        double_1, double_2,
    }  # fmt: skip
    for wanted, code in {
        "double": "collection_ambiguous", "Acme": "collection_not_found",
        " acme": "collection_not_found", foreign: "collection_not_found",
        "foreign": "collection_not_found",
    }.items():  # fmt: skip
        with pytest.raises(ColibriError) as caught:
            source.locate(wanted)
        assert caught.value.code == code, wanted


class Answered:
    """Sessions that give the lists that one real session gave."""

    def __init__(self, content, source, world) -> None:
        self._read = source.sessions.read(source.account(), world.organization.id, items=False)
        assert len(content.collections) == 3

    def read(self, *_: object, **__: object):
        return self._read


def test_the_organisation_is_found_by_name_or_id_and_must_have_us(new_world, state_dir):
    world = new_world()
    world.add_login(world.add_collection("acme"), "KEY", "value")
    stranger = place.account(bw.installed(), world, organization_id=world.user_id)
    source = place.source(lambda: stranger, place.options(state_dir))
    with pytest.raises(ColibriError) as caught:
        source.collections()
    assert caught.value.code == "source_forbidden"
