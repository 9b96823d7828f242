"""What a server does with leases, tokens and policies, as the adapter and colibri meet it.

Over the double here; tests/live/vault runs the same over a real server and a real database.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from tests.vault import place
from vault_svc.adapters.sources.vault.leases import VaultLeases
from vault_svc.adapters.sources.vault.policies import POLICY, ROLE, rendered
from vault_svc.domain.dotenv import parse_own
from vault_svc.domain.lease import Request
from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError

LOGIN = (("DB_PASSWORD", "password"), ("DB_USER", "username"))


def login(bank, role="app") -> Request:
    return Request(bank.path(role), LOGIN)


@pytest.fixture
def install(world):
    """Install what tenants lease, as an operator would."""
    import json

    def write(**leased):
        for each in rendered(world.place, (), leased):
            if each.kind == ROLE:
                world.must("POST", f"auth/token/roles/{each.name}", json.loads(each.text))
            elif each.kind == POLICY:
                world.must("PUT", f"sys/policies/acl/{each.name}", {"policy": each.text})

    return write


@pytest.fixture
def leases(world):
    """The adapter, logged in as the orchestrator by AppRole."""
    account = place.account(world)
    with ExitStack() as closing:
        yield VaultLeases(lambda: account, place.sessions(), closing)


def refused(code, call, *args):
    with pytest.raises(ColibriError) as caught:
        call(*args)
    assert caught.value.code == code, caught.value
    return caught.value


def revealed(issued) -> tuple[str, str]:
    return issued.values["DB_USER"].reveal(), issued.values["DB_PASSWORD"].reveal()


def test_a_lease_from_its_grant_to_its_end(bank, install, leases):
    install(acme=[login(bank)])
    grant = leases.grant("acme")
    assert grant.seconds == 86_400
    issued = leases.issue(grant.token, login(bank))
    assert issued.refused is None
    assert (issued.seconds, issued.renewable) == (3600, True)
    assert bank.works(*revealed(issued))
    renewed = leases.renew(grant.token, issued.lease_id, 1800)
    assert renewed is not None
    assert 1790 <= renewed.seconds <= 1800
    assert leases.renew_token(grant.token) == 86_400
    assert leases.is_alive(issued.lease_id)
    leases.end(issued.lease_id)
    assert not bank.works(*revealed(issued))
    assert not leases.is_alive(issued.lease_id)
    assert leases.renew(grant.token, issued.lease_id, 1800) is None
    leases.end(issued.lease_id)


def test_a_tokens_end_is_its_leases_end(bank, install, leases):
    install(acme=[login(bank)])
    grant = leases.grant("acme")
    issued = leases.issue(grant.token, login(bank))
    assert leases.is_token_alive(grant.accessor)
    leases.end_token(grant.accessor)
    assert not leases.is_token_alive(grant.accessor)
    assert leases.renew_token(grant.token) is None
    refused("source_forbidden", leases.issue, grant.token, login(bank))
    until = time.monotonic() + 10
    while leases.is_alive(issued.lease_id) and time.monotonic() < until:
        time.sleep(0.05)
    assert not bank.works(*revealed(issued))
    leases.end_token(grant.accessor)


def test_a_tenants_token_leases_nothing_of_another(bank, install, leases):
    install(acme=[login(bank)], beta=[login(bank, "short")])
    grant = leases.grant("acme")
    refused("source_forbidden", leases.issue, grant.token, login(bank, "short"))
    assert bank.users() == set()


def test_the_orchestrators_token_leases_nothing_itself(bank, install, leases, world):
    """What it may do is mint through the roles, look up, end: tried here with its own token."""
    install(acme=[login(bank)])
    leases.grant("acme")
    mine = leases._session.client.wire.token
    for method, path in (
        ("GET", bank.path()),
        ("POST", "auth/token/create"),
        ("PUT", "sys/policies/acl/colibri-lease-acme"),
        ("PUT", "sys/leases/renew"),
        ("PUT", "sys/leases/revoke-prefix/x"),
        ("POST", "auth/token/roles/colibri-lease"),
    ):
        status, _ = world.ask(method, path, {"policy": "", "lease_id": "x"}, token=mine)
        assert status == 403, f"{method} {path}"
    assert bank.users() == set()


def test_the_role_mints_no_other_policy(world, install, bank, leases):
    install(acme=[login(bank)])
    leases.grant("acme")
    mine = leases._session.client.wire.token
    body = {"policies": ["colibri-orchestrator"]}
    assert world.ask("POST", "auth/token/create/colibri-lease", body, token=mine)[0] == 400


def test_a_tenant_without_a_policy_is_granted_a_token_that_can_nothing(bank, install, leases):
    install(acme=[login(bank)])
    grant = leases.grant("nobody")
    refused("source_forbidden", leases.issue, grant.token, login(bank))


def test_a_missing_field_is_told_with_the_lease_that_was_made(bank, install, leases):
    install(acme=[login(bank)])
    grant = leases.grant("acme")
    issued = leases.issue(grant.token, Request(bank.path(), (("DB_USER", "nothing"),)))
    assert issued.refused is not None
    assert issued.refused.code == "secret_missing"
    assert "username" in issued.refused.hint
    leases.end(issued.lease_id)
    assert bank.users() == set()


def test_what_has_no_lease_is_no_dynamic_secret(world, install, leases):
    path = f"{world.mount}/data/tenants/acme"
    world.put("acme", {"username": "static"})
    install(acme=[Request(path, LOGIN)])
    refused("lease_missing", leases.issue, leases.grant("acme").token, Request(path, LOGIN))


def test_a_certificate_is_good_until_its_not_after(bank, install, leases):
    named = Request(
        bank.certificates,
        (("TLS_CERT", "certificate"), ("TLS_KEY", "private_key")),
        (("common_name", "acme.example"),),
    )
    install(acme=[named])
    token = leases.grant("acme").token
    issued = leases.issue(token, named)
    assert issued.lease_id == ""
    assert not issued.renewable
    assert 500 < issued.seconds <= 601
    other = Request(named.path, named.fields, (("common_name", "beta.example"),))
    if bank.world.server is None:  # the double knows no allowed_parameters
        refused("source_forbidden", leases.issue, token, other)


def test_a_role_that_is_not_there(bank, install, leases):
    asked = Request(bank.path("nothing"), LOGIN)
    install(acme=[asked])
    refused("lease_refused", leases.issue, leases.grant("acme").token, asked)


def test_a_renewal_never_reaches_past_the_longest_life(bank, install, leases):
    install(acme=[login(bank, "short")])
    grant = leases.grant("acme")
    issued = leases.issue(grant.token, login(bank, "short"))
    time.sleep(3)
    renewed = leases.renew(grant.token, issued.lease_id, 4)
    assert renewed is None or renewed.seconds <= 3


def test_a_failing_database_is_one_requests_trouble(bank, install, leases):
    """No other waits for it, and the server is not taken for down as a whole."""
    install(acme=[login(bank)])
    grant = leases.grant("acme")
    issued = leases.issue(grant.token, login(bank))
    bank.fail()
    try:
        refused("lease_refused", leases.issue, grant.token, login(bank))
        refused("source_unreachable", leases.end, issued.lease_id)
        assert leases.is_alive(issued.lease_id)
        assert leases.renew_token(grant.token)
    finally:
        bank.heal()
    leases.end(issued.lease_id)
    assert bank.users() == set()


def test_a_dead_token_is_told_from_a_failing_server(leases, install, bank):
    install(acme=[login(bank)])
    assert leases.renew_token(SecretValue("s.nobody")) is None


# The whole of it, by the command


@pytest.fixture
def acme(cli, world, bank):
    """A tenant that leases, with its policies installed by an operator, delivered."""
    cli.file = cli.tenant("acme", API_KEY="static-value")
    place.logged_in(cli, world)
    path = bank.path()
    cli.must("lease", "add", "acme", f"DB_USER={path}#username", f"DB_PASSWORD={path}#password")
    operator = place.operator_file(cli, world)
    cli.must("source", "policies", "vault", "--apply", "--operator-file", operator)
    cli.must("provision", "acme")
    return cli


def delivered(cli) -> tuple[str, str]:
    values = parse_own(cli.file.read_bytes())
    return values["DB_USER"], values["DB_PASSWORD"]


def test_what_is_delivered_works_and_a_rerun_asks_for_nothing(acme, bank):
    before = delivered(acme)
    assert bank.works(*before)
    acme.must("provision", "acme")
    acme.must("renew")
    assert delivered(acme) == before
    assert len(bank.users()) == 1


def test_applied_policies_agree_and_a_new_mapping_is_drift(acme, bank):
    acme.must("source", "policies", "vault", "--check")
    acme.must("lease", "add", "acme", f"RO_USER={bank.path('short')}#username")
    done = acme.run("source", "policies", "vault", "--check")
    assert done.status == 8
    assert f'+path "{bank.path("short")}" {{' in done.text


def test_a_lease_revoked_behind_our_back_is_replaced(acme, bank, world):
    before = delivered(acme)
    for lease_id in lease_ids(acme):
        world.must("PUT", "sys/leases/revoke", {"lease_id": lease_id, "sync": True})
    assert not bank.works(*before)
    acme.must("renew")
    assert bank.works(*delivered(acme))
    assert len(bank.users()) == 1


def test_a_lease_revoked_and_refused_since_leaves_the_jail(acme, bank, world):
    for lease_id in lease_ids(acme):
        world.must("PUT", "sys/leases/revoke", {"lease_id": lease_id, "sync": True})
    world.must("DELETE", "sys/policies/acl/colibri-lease-acme")
    assert acme.run("renew").status == 9
    assert parse_own(acme.file.read_bytes()) == {"API_KEY": "static-value"}


@pytest.mark.parametrize("action", ["suspend", "revoke", "offboard"])
def test_after_it_leases_token_and_account_are_gone_at_the_server(acme, bank, world, action):
    ids, accessors = lease_ids(acme), [row[0] for row in rows(acme, "lease_tokens")]
    acme.must(action, "acme")
    assert bank.users() == set()
    for lease_id in ids:
        assert world.ask("PUT", "sys/leases/lookup", {"lease_id": lease_id})[0] == 400
    for accessor in accessors:
        found, _ = world.ask("POST", "auth/token/lookup-accessor", {"accessor": accessor})
        assert found == 400
    policy, _ = world.ask("GET", "sys/policies/acl/colibri-lease-acme")
    assert policy == (404 if action == "offboard" else 200)


def test_a_database_that_fails_is_said_and_a_repetition_ends_it(acme, bank):
    bank.fail()
    try:
        assert acme.run("revoke", "acme").error["code"] == "source_unreachable"
        assert not acme.file.exists()
    finally:
        bank.heal()
    acme.must("revoke", "acme")
    assert bank.users() == set()


def rows(cli, table):
    import sqlite3

    connection = sqlite3.connect(cli.state / "colibri.sqlite")
    try:
        return connection.execute(f"SELECT * FROM {table}").fetchall()
    finally:
        connection.close()


def lease_ids(cli) -> list[str]:
    import sqlite3

    connection = sqlite3.connect(cli.state / "colibri.sqlite")
    try:
        return [row[0] for row in connection.execute("SELECT lease_id FROM leases")]
    finally:
        connection.close()
