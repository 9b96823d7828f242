"""Leased values and static ones in one file, asked for only when that is needed."""

from __future__ import annotations

import json

import pytest

from tests.leases.conftest import PASSWORD, USER


def test_two_variables_of_one_path_share_one_lease(place):
    values = place.delivered()
    assert values.keys() == {"API_KEY", "DB_USER", "DB_PASSWORD"}
    assert place.is_good(values)
    assert place.server.calls.count("issue") == 1
    assert [item["variable"] for item in place.leases()] == ["DB_PASSWORD", "DB_USER"]
    assert len({item["expires_at"] for item in place.leases()}) == 1


def test_a_rerun_asks_the_server_nothing_and_changes_no_byte(place):
    place.delivered()
    before, done = place.file.stat(), list(place.server.calls)
    for call in (("provision", "acme"), ("provision", "--all"), ("provision", "acme", "--repair")):
        place.must(*call)
        after = place.file.stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert place.server.calls == done


def test_a_static_change_keeps_the_lease(place):
    """The leased values are read back from the tenant's own file, proven by its digest."""
    before = place.delivered()
    asked = place.server.calls.count("issue")
    place.must("secret", "set", "acme", "API_KEY", stdin=b"second-value")
    after = place.delivered()
    assert after == before | {"API_KEY": "second-value"}
    assert place.server.calls.count("issue") == asked


@pytest.mark.parametrize("profile", ["dotenv", "shell", "systemd", "compose", "docker-raw"])
def test_a_change_of_profile_keeps_the_lease(place, profile):
    before = place.delivered()
    place.must("update-tenant", "acme", "--profile", profile)
    assert place.delivered() == before
    assert place.server.calls.count("issue") == 1


def test_a_file_the_tenant_changed_is_not_believed(place):
    """A hostile jail cannot make colibri deliver, as leased, a value of the jail's own making."""
    before = place.delivered()
    forged = place.file.read_text().replace(before["DB_PASSWORD"], "forged")
    place.file.write_text(forged)
    after = place.delivered()
    assert "forged" not in after.values()
    assert after["DB_USER"] != before["DB_USER"]
    assert place.is_good(after)
    assert not place.is_good(before)


def test_a_lost_file_gets_a_new_lease_and_the_old_one_ends_after_it(place):
    before = place.delivered()
    place.file.unlink()
    del place.server.calls[:]
    after = place.delivered()
    assert place.is_good(after)
    assert not place.is_good(before)
    assert place.server.calls.index("issue") < place.server.calls.index("end")
    assert len(place.rows("leases")) == 1


def test_a_second_path_gets_a_lease_of_its_own_and_the_first_stays(place):
    before = place.delivered()
    place.must("lease", "add", "acme", "RO_USER=database/creds/acme#username")
    after = place.delivered()
    assert {k: after[k] for k in before} == before
    assert after["RO_USER"] in place.server.accounts
    assert place.server.calls.count("issue") == 2


def test_a_removed_mapping_leaves_the_file_and_its_lease_ends(place):
    before = place.delivered()
    place.must("lease", "remove", "acme", "DB_USER", "DB_PASSWORD")
    assert place.delivered() == {"API_KEY": "static-value"}
    assert not place.is_good(before)
    assert place.rows("leases") == []


def test_another_field_of_the_same_path_is_not_taken_from_the_old_value(place):
    before = place.delivered()
    place.must("lease", "remove", "acme", "DB_USER")
    place.must("lease", "add", "acme", "DB_USER=database/creds/app#password")
    after = place.delivered()
    assert after["DB_USER"] == after["DB_PASSWORD"] != before["DB_PASSWORD"]


def test_a_dry_run_asks_for_nothing(place):
    body = place.must("provision", "acme", "--dry-run", "--json").json
    assert (body["result"], body["drift"]) == (
        "would_deliver",
        ["a new lease of database/creds/app"],
    )
    assert place.server.calls == []
    assert not place.file.exists()


def test_a_variable_of_both_kinds_is_refused_and_nothing_changes(place):
    before = place.delivered()
    place.must("secret", "set", "acme", "DB_USER", stdin=b"static")
    assert place.run("provision", "acme").error["code"] == "secret_ambiguous"
    assert place.values == before
    assert place.is_good()


def test_an_empty_collection_is_still_refused(place):
    place.must("secret", "unset", "acme", "API_KEY")
    assert place.run("provision", "acme").error["code"] == "collection_empty"
    assert place.server.accounts == set()
    place.must("provision", "acme", "--allow-empty")
    assert place.values.keys() == {"DB_USER", "DB_PASSWORD"}


def test_a_tenant_without_a_collection_gets_its_leases(bare):
    bare.cli.register("lessee", "--no-collection")
    bare.must("lease", "add", "lessee", USER)
    file = bare.cli.jail_root("lessee") / "home/app/.env"
    for call in (("provision", "lessee"), ("provision", "--all")):
        bare.must(*call)
        assert file.read_text().count("DB_USER=v-user-") == 1
    assert bare.server.calls.count("issue") == 1


def test_one_tenants_refused_path_does_not_touch_another(place):
    place.cli.tenant("beta", API_KEY="b")
    place.must("lease", "add", "beta", "DB_USER=database/creds/acme#username")
    done = place.run("provision", "--all", "--json")
    assert done.status == 9
    results = {item["tenant_id"]: item for item in done.json["items"]}
    assert results["acme"]["result"] == "delivered"
    assert results["beta"]["error"]["code"] == "source_forbidden"
    assert place.rows("lease_tokens")[0][1] in {"acme", "beta"}
    assert not (place.cli.jail_root("beta") / "home/app/.env").exists()


@pytest.mark.parametrize(
    ("mapping", "code"),
    [
        ("DB_USER=kv/app#username", "lease_missing"),
        ("DB_USER=database/creds/app#nothing", "secret_missing"),
    ],
)
def test_what_cannot_be_leased_says_so_and_leaves_nothing(bare, mapping, code):
    bare.must("lease", "add", "acme", mapping)
    assert bare.run("provision", "acme").error["code"] == code
    assert not bare.file.exists()
    assert bare.rows("leases") == []
    assert bare.server.accounts == set()


def test_what_was_asked_for_in_vain_ends_at_once(place):
    """A jail that cannot be written must not fill the database with accounts."""
    place.must("lease", "add", "acme", "OTHER=database/creds/acme#username")
    place.server.refused.add("database/creds/app")  # asked for after the other was made
    for _ in range(3):
        assert place.run("provision", "acme").error["code"] == "source_forbidden"
        assert place.server.accounts == set()
    assert place.rows("leases") == []
    assert len(place.server.tokens) == 1


def test_a_delivery_that_fails_ends_its_new_lease(place):
    place.file.parent.mkdir(parents=True, exist_ok=True)
    place.file.mkdir()
    assert place.run("provision", "acme").status == 5
    assert place.server.accounts == set()
    assert place.rows("leases") == []


def test_the_audit_log_tells_it_in_order_and_no_value(place):
    place.delivered()
    events = place.events()
    order = ["leases_mapped", "will_lease", "will_deliver", "delivered", "leased"]
    assert [event for event in events if event in order] == order
    log = json.dumps(place.must("audit", "tail", "--json").json)
    assert not [value for value in place.server.every_value if value in log]


def test_nothing_is_asked_for_that_cannot_be_announced(place, monkeypatch):
    from vault_svc.adapters.audit.jsonl import JsonlAudit
    from vault_svc.errors import ColibriError

    def broken(*_):
        raise ColibriError("audit_unwritable", "planted")

    monkeypatch.setattr(JsonlAudit, "append", broken)
    assert place.run("provision", "acme").error["code"] == "audit_unwritable"
    assert place.server.calls == []


def test_mappings_of_one_kind_each(bare):
    assert bare.must("lease", "add", "acme", USER, PASSWORD, "--json").json["added"][0] == {
        "variable": "DB_USER",
        "path": "database/creds/app",
        "field": "username",
        "params": [],
    }
    assert bare.must("lease", "add", "acme", USER, "--json").json["added"] == []
