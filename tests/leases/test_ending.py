"""Suspend, revoke and offboard end every lease and the token at the server, proven by a look."""

from __future__ import annotations

import pytest

from tests.leases.conftest import USER

ACTIONS = ["suspend", "revoke", "offboard"]


@pytest.fixture
def served(place):
    place.before = place.delivered()
    del place.server.calls[:]
    return place


@pytest.mark.parametrize("action", ACTIONS)
def test_leases_and_token_end_and_are_looked_up(served, action):
    body = served.must(action, "acme", "--json").json
    policy = ["the lease policy"] if action == "offboard" else []
    assert body["ended"] == ["the lease of database/creds/app", "the lease token", *policy]
    assert not served.file.exists()
    assert served.server.accounts == set()
    assert served.server.tokens == {}
    calls = served.server.calls
    assert calls[:4] == ["end", "is_alive", "end_token", "is_token_alive"]
    assert calls[4:] == (["close"] if policy else [])
    assert served.rows("leases") == served.rows("lease_tokens") == []
    assert not list((served.cli.state / "store").glob("lease-token.*"))


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("fault", ["down", "stuck"])
def test_a_failing_server_is_said_the_file_is_gone_and_a_repetition_ends_it(served, action, fault):
    setattr(served.server, fault, True)
    done = served.run(action, "acme")
    assert done.status == 6
    assert done.error["code"] == "source_unreachable"
    assert "the file is gone" in done.error["message"]
    assert not served.file.exists()
    assert served.run(action, "acme").status == 6
    setattr(served.server, fault, False)
    served.must(action, "acme")
    assert served.server.accounts == set()
    assert served.server.tokens == {}
    assert served.rows("leases") == []
    del served.server.calls[:]
    assert served.must(action, "acme", "--json").json["changed"] is False
    assert served.server.calls == []


@pytest.mark.parametrize("action", ACTIONS)
def test_the_renewal_pass_goes_on_with_it(served, action):
    served.server.stuck = True
    served.run(action, "acme")
    assert served.renewed(status=9)["result"] == "failed"
    served.server.stuck = False
    assert served.renewed()["result"] == "ended"
    assert served.server.accounts == set()
    assert served.must(action, "acme", "--json").json["changed"] in {True, False}


def test_a_stuck_lease_does_not_keep_the_token_alive(served):
    served.server.stuck = True
    served.run("revoke", "acme")
    assert served.server.tokens == {}


def test_a_file_that_cannot_be_removed_holds_a_dead_value(served):
    served.file.unlink()
    served.file.mkdir()
    assert served.run("revoke", "acme").error["code"] == "target_not_regular"
    assert served.server.accounts == set()


def test_after_resume_new_leases_are_asked_for(served):
    served.must("suspend", "acme")
    served.must("resume", "acme")
    assert served.renewed()["result"] == "unchanged"
    after = served.delivered()
    assert served.is_good(after)
    assert after["DB_USER"] != served.before["DB_USER"]


def test_a_server_that_only_claims_to_end_is_found_out(served, monkeypatch):
    monkeypatch.setattr(type(served.server), "end", lambda *_: None)
    error = served.run("revoke", "acme").error
    assert error["code"] == "source_incomplete"
    assert served.rows("leases")


def test_an_offboarded_tenant_maps_nothing(served):
    served.must("offboard", "acme")
    assert served.run("lease", "add", "acme", USER).error["code"] == "tenant_offboarded"


def test_a_lost_identity_stops_no_revocation(served):
    (served.cli.state / "credentials" / "embedded.age").unlink()
    served.must("revoke", "acme")
    assert served.server.accounts == set()
    assert served.server.tokens == {}


def test_leases_that_a_failed_delivery_replaced_are_ended_by_the_next_pass(served):
    served.file.unlink()
    served.server.stuck = True
    done = served.must("provision", "acme", "--json")
    assert "has not ended yet" in done.json["warnings"][0]
    assert served.is_good(served.before)
    served.server.stuck = False
    assert served.renewed()["result"] == "ended"
    assert not served.is_good(served.before)
    assert served.is_good()


def test_a_tenant_without_leases_asks_no_server(bare):
    bare.must("provision", "acme")
    bare.server.down = True
    bare.must("revoke", "acme")
    assert bare.server.calls == []
