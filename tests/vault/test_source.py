"""The source: what is delivered, and what is refused. tests/live/vault asks a real server."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from tests.kit.stores import resolve_one, revealed
from tests.vault import place
from vault_svc.adapters.sources.vault import client
from vault_svc.adapters.sources.vault.options import Rules
from vault_svc.domain.secret import CollectionRef, SecretSet, Unchanged
from vault_svc.errors import ColibriError


def code(found) -> str:
    assert isinstance(found, ColibriError), found
    return found.code


def test_every_value_comes_back_byte_for_byte(world):
    texts = {"A": "", "B": "line\nline\r\n", "C": "ü€😀\u2028", "D": " spaced\t", "E": "#=\"'$`\\"}
    world.fill("acme", texts)
    assert revealed(resolve_one(place.source(world), world.place.ref("acme"))) == texts


def test_the_id_is_mount_and_path(world):
    world.fill("acme", {"A": "1"})
    ref = place.source(world).locate("acme")
    assert (ref.collection_id, ref.name) == (f"{world.mount}/tenants/acme", "acme")
    assert place.source(world).locate(ref.collection_id) == ref


def test_what_no_tenant_could_be_called_is_no_collection(world):
    world.fill("acme", {"A": "1"})
    for name in ("Upper", "two--hyphens", "folder/inside", "under_score"):
        world.put(name, {"A": "1"})
    assert [ref.name for ref in place.source(world).collections()] == ["acme"]


def test_a_row_of_another_mount_is_a_mismatch(new_world):
    one, other = new_world(), new_world()
    one.fill("acme", {"A": "1"})
    other.fill("acme", {"A": "2"})
    found = resolve_one(place.source(one), other.place.ref("acme"))
    assert code(found) == "server_mismatch"


@pytest.mark.parametrize("name", ["../acme", "acme/../beta", "*", "+", "acme/", "ACME"])
def test_a_row_whose_name_is_a_path_is_not_asked_for(world, name):
    world.fill("acme", {"A": "1"})
    crossed = CollectionRef(f"{world.mount}/tenants/{name}", name)
    assert code(resolve_one(place.source(world), crossed)) == "server_mismatch"


def test_the_known_revision_is_told_unchanged_and_a_changed_one_is_read(world):
    world.fill("acme", {"A": "1"})
    ref, source = world.place.ref("acme"), place.source(world)
    first = resolve_one(source, ref)
    known = CollectionRef(ref.collection_id, ref.name, delivered=first.revision)
    assert resolve_one(source, known) == Unchanged(ref.collection_id, first.revision)
    world.put("acme", {"A": "2"})
    assert revealed(resolve_one(source, known)) == {"A": "2"}


def test_a_collection_made_anew_is_not_taken_for_the_old_one(world):
    """Its version is 1 again, as the delivered one's was."""
    world.fill("acme", {"A": "old"})
    ref, source = world.place.ref("acme"), place.source(world)
    known = CollectionRef(ref.collection_id, "acme", delivered=resolve_one(source, ref).revision)
    world.forget("acme")
    world.put("acme", {"A": "new"})
    assert revealed(resolve_one(source, known)) == {"A": "new"}


@pytest.mark.parametrize("action", ["delete", "destroy"])
@pytest.mark.parametrize("known", [False, True])
def test_a_deleted_or_destroyed_version_is_missing(world, action, known):
    world.fill("acme", {"A": "old"})
    world.put("acme", {"A": "1"})
    source, ref = place.source(world), world.place.ref("acme")
    if known:
        revision = resolve_one(source, ref).revision
        ref = CollectionRef(ref.collection_id, ref.name, delivered=revision)
    world.newest("acme", action)
    assert code(resolve_one(source, ref)) == "secret_missing"
    if action == "delete":
        world.newest("acme", "undelete")
        assert isinstance(resolve_one(source, ref), SecretSet | Unchanged)


@pytest.mark.parametrize("value", [1, 1.5, True, None, ["a"], {"a": "b"}])
def test_a_value_that_is_no_string_is_refused_by_name(world, value):
    world.fill("acme", {"GOOD": "1", "BAD_ONE": value})
    found = resolve_one(place.source(world), world.place.ref("acme"))
    assert code(found) == "secret_value_unrepresentable"
    assert "BAD_ONE" in found.line()


@pytest.mark.parametrize("name", ["lower", "A-B", "PATH", "LD_PRELOAD", "VAULT_TOKEN", ""])
def test_a_key_that_is_no_variable_is_refused(world, name):
    world.fill("acme", {"GOOD": "1", name: "x"})
    found = resolve_one(place.source(world), world.place.ref("acme"))
    assert code(found) == "secret_name_refused"


def test_a_megabyte_comes_through_where_it_is_allowed_and_is_named_where_not(world):
    world.fill("acme", {"BIG": "é" * 524_288})
    ref = world.place.ref("acme")
    assert "BIG" in resolve_one(place.source(world), ref).line()
    rules = Rules(max_value_bytes=1 << 20)
    assert len(resolve_one(place.source(world, rules), ref).values["BIG"]) == 1 << 20


def test_five_thousand_variables_are_delivered_and_one_more_is_too_many(world):
    world.fill("acme", {f"K{i}": str(i) for i in range(5000)})
    found = resolve_one(place.source(world), world.place.ref("acme"))
    assert len(found.values) == 5000
    world.put("acme", {f"K{i}": str(i) for i in range(5001)})
    found = resolve_one(place.source(world), world.place.ref("acme"))
    assert code(found) == "secret_value_unrepresentable"


def test_a_collection_over_its_limit_is_refused(world):
    world.fill("acme", {"A": "x" * 600, "B": "x" * 600})
    found = resolve_one(
        place.source(world, Rules(max_collection_bytes=1000)), world.place.ref("acme")
    )
    assert code(found) == "secret_value_unrepresentable"


def test_version_one_is_read_and_never_told_unchanged(new_world):
    world = new_world(version=1)
    world.fill("acme", {"A": "1"})
    source = place.source(world)
    ref = CollectionRef(world.place.ref("acme").collection_id, "acme", delivered="1@then")
    found = resolve_one(source, ref)
    assert (revealed(found), found.revision) == ({"A": "1"}, "")
    assert source.locate("acme").name == "acme"
    assert code(resolve_one(source, world.place.ref("none"))) in {
        "source_forbidden",  # no policy was made for it
        "collection_not_found",
    }


def test_version_one_where_two_was_expected_is_said(new_world):
    world = new_world(version=1)
    world.fill("acme", {"A": "1"})
    believed = place.account(world, version=2)
    found = resolve_one(place.source(world, account=believed), world.place.ref("acme"))
    assert code(found) in {"server_mismatch", "source_forbidden"}


def test_version_two_where_one_was_expected_is_said(world):
    world.fill("acme", {"A": "1"})
    believed = place.account(world, version=1)
    world.must(
        "PUT",
        "sys/policies/acl/colibri-tenant-acme",
        {"policy": f'path "{world.mount}/tenants/acme" {{ capabilities = ["read"] }}'},
    )
    found = resolve_one(place.source(world, account=believed), world.place.ref("acme"))
    assert code(found) == "server_mismatch"


def test_order_and_failures_are_each_tenants_own(world):
    for name in ("acme", "beta", "zoo"):
        world.fill(name, {"NAME": name})
    world.must("DELETE", "sys/policies/acl/colibri-tenant-beta")
    refs = [world.place.ref(name) for name in ("zoo", "beta", "acme", "none", "zoo")]
    found = [one for _, one in place.source(world).resolve(refs)]
    assert [revealed(found[i])["NAME"] for i in (0, 2, 4)] == ["zoo", "acme", "zoo"]
    assert "no policy 'colibri-tenant-beta'" in found[1].line()
    assert found[1].hint == "colibri source policies vault --apply"
    assert isinstance(found[3], ColibriError)


def test_a_policy_that_allows_something_else_is_said_to(world):
    world.fill("acme", {"A": "1"})
    world.must("PUT", "sys/policies/acl/colibri-tenant-acme", {"policy": "# nothing"})
    found = resolve_one(place.source(world), world.place.ref("acme"))
    assert (code(found), found.hint) == (
        "source_forbidden",
        "colibri source policies vault --check",
    )


def test_offboarding_drops_the_policy_and_revoking_does_not(world):
    world.fill("acme", {"A": "1"})
    source, ref = place.source(world), world.place.ref("acme")
    assert source.end_access(ref, for_good=False) == ()
    assert revealed(resolve_one(source, ref)) == {"A": "1"}
    assert source.end_access(ref, for_good=True) == ("policy colibri-tenant-acme",)
    assert source.end_access(ref, for_good=True) == ()
    assert code(resolve_one(source, ref)) == "source_forbidden"


def test_a_session_ends_the_token_it_made(world):
    world.fill("acme", {"A": "1"})
    source = place.source(world)
    with source.sessions.open(source.account()) as session:
        token = session.client.wire.token
        assert world.ask("GET", "auth/token/lookup-self", token=token)[0] == 200
    assert world.ask("GET", "auth/token/lookup-self", token=token)[0] == 403


def many(world, count: int = 12):
    """Fill many collections, read them once, and return refs that know what they had."""
    names = [f"t{i:02d}" for i in range(count)]
    for name in names:
        world.put(name, {"NAME": name})
    world.install(*names)
    source = place.source(world)
    read = list(source.resolve([world.place.ref(name) for name in names]))
    return source, [CollectionRef(r.collection_id, r.name, one.revision) for r, one in read]


def test_many_versions_are_asked_for_by_one_request_where_the_server_can(world):
    source, refs = many(world)
    world.put("t03", {"NAME": "new"})
    world.newest("t04", "delete")
    world.forget("t05")
    before = world.server.asked("metadata/tenants/") if world.server else 0
    found = dict(source.resolve(refs))
    by_name = {ref.name: one for ref, one in found.items()}
    assert revealed(by_name.pop("t03")) == {"NAME": "new"}
    assert code(by_name.pop("t04")) == "secret_missing"
    assert code(by_name.pop("t05")) == "collection_not_found"
    assert all(isinstance(one, Unchanged) for one in by_name.values())
    if world.server:
        assert world.server.asked("detailed-metadata") == 1
        assert world.server.asked("metadata/tenants/") - before <= 3


@pytest.mark.parametrize("page", [1, 3, 4, 11, 12, 13])
def test_versions_are_listed_page_by_page(world, monkeypatch, page):
    monkeypatch.setattr(client, "PAGE", page)
    source, refs = many(world)
    world.put("t03", {"NAME": "new"})
    found = {ref.name: one for ref, one in source.resolve(refs[::-1])}
    assert revealed(found.pop("t03")) == {"NAME": "new"}
    assert all(isinstance(one, Unchanged) for one in found.values())
    if world.server:
        # The look ahead for what follows a full last page may not have begun when the run is over.
        assert -(-12 // page) <= world.server.asked("detailed-metadata") <= 12 // page + 1
        assert world.server.asked("secret/metadata/tenants/t") == 0


def test_a_list_that_goes_in_a_circle_or_breaks_off_is_left(world, monkeypatch):
    if not world.server:
        pytest.skip("needs the double's faults")
    monkeypatch.setattr(client, "PAGE", 2)
    source, refs = many(world)
    body = b'{"data": {"keys": ["s", "t"], "key_info": {}}}'
    for fault in ((200, body), (404, b'{"errors": []}'), (200, b"half")):
        world.server.heal()
        world.server.fault("detailed-metadata", *fault, after=1)
        assert {type(one) for _, one in source.resolve(refs)} == {Unchanged}


@pytest.mark.parametrize("status", [404, 403, 405])
def test_where_it_can_not_each_version_is_asked_for(world, status):
    if not world.server:
        pytest.skip("needs the double's faults")
    source, refs = many(world)
    world.server.fault("detailed-metadata", status)
    assert {type(one) for _, one in source.resolve(refs)} == {Unchanged}
    assert world.server.asked("secret/metadata/tenants/t") == len(refs)


def test_a_jail_is_looked_at_only_where_the_source_has_what_it_should_hold(world):
    source, refs = many(world)
    world.put("t03", {"NAME": "new"})
    looked: list[str] = []

    def look(name: str) -> bool:
        looked.append(name)
        return name != "t04"

    asked = [replace(ref, is_held=partial(look, ref.name)) for ref in refs]
    found = {ref.name: one for ref, one in source.resolve(asked)}
    assert sorted(looked) == sorted({ref.name for ref in refs} - {"t03"})
    assert revealed(found.pop("t03")) == {"NAME": "new"}
    assert revealed(found.pop("t04")) == {"NAME": "t04"}
    assert all(isinstance(one, Unchanged) for one in found.values())
