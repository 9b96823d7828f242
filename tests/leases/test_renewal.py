"""`colibri renew`: renewed in time, replaced when lost, out of the jail when nothing else helps."""

from __future__ import annotations

import json

import pytest

from tests.leases.conftest import USER

HOUR = 3600.0
DUE = HOUR * 2 / 3


@pytest.fixture
def served(place):
    """The tenant with its values delivered."""
    place.before = place.delivered()
    del place.server.calls[:]
    return place


def test_before_two_thirds_of_its_life_nothing_is_renewed(served):
    served.clock.turn(DUE - 1)
    assert served.renewed()["result"] == "unchanged"
    assert "renew" not in served.server.calls
    assert served.values == served.before


def test_at_two_thirds_of_its_life_it_is_renewed_and_no_byte_changes(served):
    inode = served.file.stat().st_ino
    served.clock.turn(DUE)
    found = served.renewed()
    assert (found["result"], found["renewed"]) == ("renewed", 1)
    assert found["next_due_at"] == "2026-11-21T04:44:00.000Z"  # 40 minutes twice
    assert served.file.stat().st_ino == inode
    served.clock.turn(DUE - 1)
    assert served.is_good()


def test_renewed_in_time_a_login_lives_on_and_on(served):
    for _ in range(20):
        served.clock.turn(DUE)
        assert served.renewed()["result"] == "renewed"
    assert served.values == served.before
    assert served.is_good()


def test_its_own_token_is_renewed_too(served):
    served.server.period = served.server.seconds
    served.must("lease", "remove", "acme", "DB_USER", "DB_PASSWORD")
    served.delivered()
    served.server.period = 2 * HOUR
    served.must("lease", "add", "acme", USER)
    served.delivered()
    for _ in range(12):
        served.clock.turn(DUE)
        served.renewed()
    assert served.is_good()
    assert served.server.calls.count("grant") == 0


def test_revoked_behind_our_back_it_is_replaced(served):
    served.server.forget_lease("database/creds/app")
    assert not served.is_good()
    found = served.renewed()
    assert (found["result"], found["variables"]) == ("redelivered", ["DB_PASSWORD", "DB_USER"])
    assert served.is_good()
    assert served.values["API_KEY"] == "static-value"
    assert "lease_lost" in served.events()


def test_revoked_behind_our_back_and_refused_since_it_leaves_the_jail(served):
    served.server.forget_lease("database/creds/app")
    served.server.refused.add("database/creds/app")
    found = served.renewed(status=9)
    assert (found["result"], found["error"]["code"]) == ("taken_out", "source_forbidden")
    assert served.values == {"API_KEY": "static-value"}
    events = served.events()
    assert events.index("will_take_out") < len(events) - events[::-1].index("delivered")
    served.server.refused.clear()
    assert served.renewed()["result"] == "redelivered"
    assert served.is_good()


def test_a_dead_tenant_token_is_replaced_with_everything_it_made(served):
    served.server.tokens.clear()
    assert served.renewed()["result"] == "redelivered"
    assert served.is_good()
    assert len(served.rows("lease_tokens")) == 1


def test_at_its_longest_life_it_is_replaced_before_it_ends(served):
    served.server.longest = HOUR
    served.clock.turn(DUE)
    assert served.renewed()["result"] == "redelivered"
    assert served.is_good()
    assert not served.is_good(served.before)


def test_what_cannot_be_renewed_is_replaced(served):
    served.server.renewable = False
    served.clock.turn(DUE)
    assert served.renewed()["result"] == "redelivered"
    assert served.is_good()


def test_an_outage_before_the_end_changes_nothing_and_says_so(served):
    served.server.down = True
    served.clock.turn(DUE)
    found = served.renewed(status=9)
    assert (found["result"], found["error"]["code"]) == ("failed", "source_unreachable")
    assert served.values == served.before


def test_an_outage_past_the_end_takes_the_dead_value_out(served):
    served.server.down = True
    served.clock.turn(HOUR)
    assert served.renewed(status=9)["result"] == "taken_out"
    assert served.values == {"API_KEY": "static-value"}
    served.server.down = False
    assert served.renewed()["result"] == "redelivered"
    assert served.is_good()
    assert served.must("provision", "acme", "--json").json["result"] == "unchanged"


def test_a_file_of_nothing_but_dead_values_becomes_an_empty_one(bare):
    bare.cli.register("lessee", "--no-collection")
    bare.must("lease", "add", "lessee", USER)
    bare.must("provision", "lessee")
    file = bare.cli.jail_root("lessee") / "home/app/.env"
    bare.server.down = True
    bare.clock.turn(HOUR)
    assert bare.run("renew").status == 9
    assert "DB_USER" not in file.read_text()
    bare.server.down = False
    bare.must("renew")
    assert "DB_USER" in file.read_text()


def test_the_source_of_the_static_values_is_not_asked(served, monkeypatch):
    """So that an outage there delays no replacement here."""
    from vault_svc.adapters.sources.embedded import EmbeddedSource

    def away(*_):
        raise AssertionError

    monkeypatch.setattr(EmbeddedSource, "resolve", away)
    served.server.forget_lease("database/creds/app")
    assert served.renewed()["result"] == "redelivered"
    assert served.is_good()


def test_a_drifted_file_is_provisioned_anew(served):
    served.file.write_text("spoiled")
    served.clock.turn(1)
    assert served.renewed()["result"] == "unchanged"  # drift alone is verify's business
    served.server.forget_lease("database/creds/app")
    assert served.renewed()["result"] == "redelivered"
    assert served.is_good()
    assert served.values["API_KEY"] == "static-value"


def test_one_tenants_trouble_is_its_own(served):
    served.cli.tenant("beta", API_KEY="b")
    served.must("lease", "add", "beta", "DB_USER=database/creds/beta#username")
    served.must("provision", "beta")
    served.server.forget_lease("database/creds/beta")
    served.server.refused.add("database/creds/beta")
    served.clock.turn(DUE)
    done = served.run("renew", "--json")
    assert done.status == 9
    found = {item["tenant_id"]: item["result"] for item in done.json["items"]}
    assert found == {"acme": "renewed", "beta": "taken_out"}


def test_another_hosts_tenants_are_left_alone(served):
    served.cli.settings["COLIBRI_HOST"] = "h2"
    served.server.forget_lease("database/creds/app")
    assert served.must("renew", "--json").json["items"] == []


def test_a_new_mapping_of_an_active_tenant_is_served(served):
    served.must("lease", "add", "acme", "RO_USER=database/creds/acme#username")
    assert served.renewed()["result"] == "redelivered"
    assert served.values["RO_USER"] in served.server.accounts


def test_a_removed_mapping_is_taken_out(served):
    served.must("lease", "remove", "acme", "DB_USER", "DB_PASSWORD")
    served.renewed()
    assert served.values == {"API_KEY": "static-value"}
    assert served.server.accounts == set()


def test_a_registered_tenant_is_not_delivered_to(place):
    assert place.renewed()["result"] == "unchanged"
    assert not place.file.exists()
    assert place.server.calls == []


def test_a_lost_sealed_token_is_replaced_when_it_is_needed(served):
    (sealed,) = (served.cli.state / "store").glob("lease-token.*.age")
    sealed.unlink()
    served.clock.turn(DUE)
    assert served.renewed()["result"] == "redelivered"
    assert served.is_good()
    assert len(served.server.tokens) == 1


def test_the_table_says_what_happened(served):
    served.clock.turn(DUE)
    said = served.must("renew", "--once").text
    assert said.splitlines()[0].split() == ["TENANT", "RESULT", "NEXT", "DUE", "VARIABLES", "WHY"]
    assert "renewed" in said
    assert not [value for value in served.server.every_value if value in said]


def test_renewals_leave_one_audit_line_a_pass(served):
    served.clock.turn(DUE)
    served.renewed()
    line = served.must("audit", "tail", "--json").json["items"][-1]
    assert (line["event"], line["detail"]) == ("leases_renewed", {"renewed": 1})


def test_nothing_shown_or_logged_has_a_value(served):
    served.server.forget_lease("database/creds/app")
    shown = [
        served.run(*call).text
        for call in (
            ("renew", "--json"),
            ("lease", "list", "--json"),
            ("show-tenant", "acme", "--json"),
            ("audit", "tail", "--json"),
        )
    ]
    text = json.dumps(shown)
    assert not [value for value in served.server.every_value if value in text]
