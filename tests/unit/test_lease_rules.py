"""The rules of leases that need no server: plans, times, names, answers."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.kit.lease_server import LeaseServer
from tests.kit.memory import TurnableClock
from tests.kit.vault import certificate
from vault_svc.adapters.sources.vault.lease_answers import granted, issued, number
from vault_svc.adapters.sources.vault.lease_rules import lease_rules
from vault_svc.domain.lease import (
    Lease,
    LeasedVariable,
    LeaseToken,
    Request,
    Standing,
    State,
    plan,
    reconciled,
)
from vault_svc.domain.lease_names import leased_variable
from vault_svc.errors import ColibriError
from vault_svc.hazmat.certificates import not_after
from vault_svc.wiring import Services

START, LATER = "2026-11-21T03:00:00.000Z", "2026-11-21T04:00:00.000Z"
REQUEST = Request("database/creds/app", (("DB_USER", "username"),))
TOKEN = LeaseToken("acme", "a1", live=True, renewed_at=START, expires_at=LATER)


def a_lease(key: str = "k", **changes) -> Lease:
    made = Lease("k", "acme", REQUEST, State.LIVE, "a1", "id", START, LATER, True, 1)
    return replace(made, key=key, **changes)


def standing(*leases: Lease, token: LeaseToken | None = TOKEN) -> Standing:
    mapped = LeasedVariable("acme", "DB_USER", "database/creds/app", "username")
    return Standing((mapped,), leases, (token,) if token else ())


def test_a_lease_is_due_at_two_thirds_of_its_life():
    assert a_lease().due_at == "2026-11-21T03:40:00.000Z"


@pytest.mark.parametrize(
    ("lease", "known", "lost"),
    [
        (a_lease(state=State.ISSUED), {"DB_USER"}, ()),
        (a_lease(state=State.ENDING), {"DB_USER"}, ()),
        (a_lease(accessor="other"), {"DB_USER"}, ()),
        (a_lease(expires_at=START), {"DB_USER"}, ()),
        (a_lease(request=replace(REQUEST, params=(("a", "b"),))), {"DB_USER"}, ()),
        (a_lease(), set(), ()),
        (a_lease(), {"DB_USER"}, {"k"}),
    ],
)
def test_only_a_live_lease_whose_value_is_known_is_kept(lease, known, lost):
    made = plan(standing(lease), known, START, lost)
    assert (made.kept, made.wanted, made.over) == ((), (REQUEST,), (lease,))
    assert plan(standing(a_lease()), {"DB_USER"}, START).quiet


def test_what_was_asked_for_untold_ends_only_with_its_token():
    asked = a_lease("asked", state=State.ASKED, lease_id="")
    made = plan(standing(a_lease(), asked), {"DB_USER"}, START)
    assert made.untold
    assert made.wanted == (REQUEST,)
    assert not plan(standing(a_lease(), replace(asked, accessor="old")), {"DB_USER"}, START).untold


def test_the_delivered_generation_says_which_lease_is_live():
    old, new = a_lease("old"), a_lease("new", state=State.ISSUED, generation=2)
    states = [lease.state for lease in reconciled([old, new], 2)]
    assert states == [State.ENDING, State.LIVE]
    for certain in (1, None):
        states = [lease.state for lease in reconciled([old, new], certain)]
        assert states == [State.LIVE, State.ENDING]


@pytest.mark.parametrize(
    "text",
    [
        "DB_USER", "DB_USER=", "DB_USER=path", "DB_USER=a/b", "DB_USER=a/b#", "DB_USER=/a/b#c",
        "DB_USER=a//b#c", "DB_USER=a/../b#c", "DB_USER=a/b/#c", "DB_USER=a#c", "DB_USER=a/b#c d",
        "DB_USER=a/b#c#d", "DB_USER=transit/keys/x#c", "DB_USER=sys/x#c", "DB_USER=auth/x/y#c",
        'DB_USER=a/b"#c', "DB_USER=a/*#c", "DB_USER=a/+/b#c", f"DB_USER={'a/' * 300}b#c",
    ],
)  # fmt: skip
def test_what_is_no_mapping_is_refused_and_no_policy_is_made_wider(text):
    with pytest.raises(ColibriError) as caught:
        leased_variable("acme", text, [])
    assert caught.value.code == "usage"


@pytest.mark.parametrize("name", ["PATH", "LD_PRELOAD", "lower", "VAULT_TOKEN"])
def test_names_are_held_to_the_one_list(name):
    with pytest.raises(ColibriError) as caught:
        leased_variable("acme", f"{name}=database/creds/app#username", [])
    assert caught.value.code == "secret_name_refused"


@pytest.mark.parametrize("param", ["a", "=b", "A=b", "a=\n", f"a={'x' * 2000}"])
def test_what_is_no_parameter_is_refused(param):
    with pytest.raises(ColibriError):
        leased_variable("acme", "TLS=pki/issue/web#certificate", [param])


@pytest.mark.parametrize("value", ["*", "*x", "prod-*", "a${b", '${"'])
def test_a_parameter_that_a_policy_would_read_as_more_is_refused(value):
    with pytest.raises(ColibriError) as caught:
        leased_variable("acme", "TLS=pki/issue/web#certificate", [f"common_name={value}"])
    assert caught.value.code == "usage"
    mapped = leased_variable("acme", "TLS=pki/issue/web#certificate", ["common_name=*.acme.test"])
    assert mapped.params == (("common_name", "*.acme.test"),)


def test_a_policy_has_the_mapped_paths_and_parameters_alone():
    named = Request("pki/issue/web", (("TLS", "certificate"),), (("common_name", 'a"b'),))
    text = lease_rules([REQUEST, named])
    assert 'path "database/creds/app" {\n  capabilities = ["read"]\n}' in text
    assert '"common_name" = ["a\\"b"]' in text
    assert text.count('path "') == 2


GRANTED = {
    "client_token": "s.x", "accessor": "a", "policies": ["colibri-lease-acme"],
    "renewable": True, "orphan": True, "lease_duration": 86_400,
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"policies": ["colibri-lease-acme", "default"]},
        {"policies": ["root"]},
        {"renewable": False},
        {"orphan": False},
    ],
)
def test_a_token_that_can_more_than_was_asked_for_is_refused(change):
    assert granted({"auth": GRANTED}, "colibri-lease-acme").accessor == "a"
    with pytest.raises(ColibriError) as caught:
        granted({"auth": GRANTED | change}, "colibri-lease-acme")
    assert caught.value.code == "source_forbidden"


@pytest.mark.parametrize("change", [{"client_token": ""}, {"accessor": 1}, {"lease_duration": 0}])
def test_half_a_grant_is_none(change):
    with pytest.raises(ColibriError) as caught:
        granted({"auth": GRANTED | change}, "colibri-lease-acme")
    assert caught.value.code == "source_incomplete"


LEASED = {"lease_id": "l", "lease_duration": 60, "renewable": True, "data": {"username": "u"}}


def test_a_value_that_is_no_string_is_told_with_its_lease():
    found = issued(LEASED | {"data": {"username": 7}}, REQUEST)
    assert (found.lease_id, found.refused.code) == ("l", "secret_value_unrepresentable")


@pytest.mark.parametrize(
    "change", [{"data": None}, {"lease_duration": "60"}, {"lease_duration": True}]
)
def test_half_a_lease_is_none(change):
    with pytest.raises(ColibriError) as caught:
        issued(LEASED | change, REQUEST)
    assert caught.value.code == "source_incomplete"


def test_certificates_say_until_when_they_are_good():
    pem = certificate.issued("acme.example", 600)["certificate"]
    end = not_after(pem)
    assert end is not None
    assert 590 < (end - dt.datetime.now(dt.UTC)).total_seconds() <= 600
    key = ed25519.Ed25519PrivateKey.generate()
    builder = serialization.SSHCertificateBuilder().public_key(key.public_key()).serial(1)
    builder = builder.type(serialization.SSHCertificateType.USER).key_id(b"acme")
    builder = builder.valid_for_all_principals().valid_after(0).valid_before(2_000_000_000)
    assert not_after(builder.sign(key).public_bytes().decode()).year == 2033
    for odd in ("", "text", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----", "ssh-x a"):
        assert not_after(odd) is None


def test_a_row_stands_before_the_server_is_asked(cli, monkeypatch):
    """Killed while the server answers, the next pass knows of it."""
    import sqlite3

    seen = []

    class Watched(LeaseServer):
        def issue(self, token, request):
            connection = sqlite3.connect(cli.state / "colibri.sqlite")
            seen.extend(connection.execute("SELECT state, path FROM leases").fetchall())
            connection.close()
            return super().issue(token, request)

    monkeypatch.setattr(Services, "_lease_source", Watched(TurnableClock("2099-01-01T00:00:00Z")))
    cli.tenant("acme", API_KEY="static")
    cli.must("lease", "add", "acme", "DB_USER=database/creds/app#username")
    cli.must("provision", "acme")
    assert seen == [("asked", "database/creds/app")]


@pytest.mark.parametrize(
    "seconds",
    [float("nan"), float("inf"), 1e300, 10**400, 0, -1, True, "60", None],
    ids=["nan", "inf", "long", "longer", "none", "over", "true", "text", "missing"],
)
def test_a_life_that_no_clock_can_hold_is_no_answer(seconds):
    with pytest.raises(ColibriError) as caught:
        number(seconds, "a lease's life")
    assert caught.value.code == "source_incomplete"
    assert number(60, "a lease's life") == 60.0
