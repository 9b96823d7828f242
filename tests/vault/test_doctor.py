"""`source doctor vault` and the circuit: what stands in the way is said, and by name."""

from __future__ import annotations

import pytest

from tests.kit.cli import Cli
from tests.vault import place
from vault_svc.adapters.sources.vault.session import CIRCUIT_FILE


@pytest.fixture
def ready(state_dir, world):
    world.fill("acme", {"A": "1"})
    return place.logged_in(Cli(state_dir).ready(), world), world


def checks(cli: Cli) -> dict[str, tuple[str, str]]:
    found = cli.run("source", "doctor", "vault", "--json").json["items"]
    return {each["name"]: (each["state"], each["seen"]) for each in found}


def test_a_sound_server_is_sound(ready):
    cli, _ = ready
    found = checks(cli)
    states = {name: state for name, (state, _) in found.items()}
    assert states.pop("tls") in {"ok", "warn"}
    assert states.pop("collections without a tenant") == "warn"
    assert set(states.values()) == {"ok"}
    assert "reads no tenant's values" in found["orchestrator's reach"][1]


def test_what_an_offboarded_tenant_left_at_the_server_is_no_drift(ready):
    """Its collection is the operator's to delete; its policy is gone, and is to be."""
    cli, _ = ready
    cli.must("register-tenant", "acme", "--source", "vault", "--create-jail", "--tier", "scratch")
    cli.must("offboard", "acme")
    assert checks(cli)["policies"][0] == "ok"


def test_an_orchestrator_that_can_read_is_a_failure(ready):
    cli, world = ready
    policy = world.must("GET", "sys/policies/acl/colibri-orchestrator")["data"]["policy"]
    more = f'\npath "{world.mount}/data/tenants/*" {{ capabilities = ["read"] }}\n'
    world.must("PUT", "sys/policies/acl/colibri-orchestrator", {"policy": policy + more})
    found = checks(cli)
    assert found["orchestrator's reach"][0] == "fail"
    assert "may read collection 'acme'" in found["orchestrator's reach"][1]
    assert found["policies"][0] == "fail"
    world.install()


def test_an_orchestrator_with_more_policies_than_its_own_is_told_so(ready):
    cli, world = ready
    world.fill("acme", {"A": "1"})
    also = {"token_policies": ["colibri-orchestrator", "backup"], "token_no_default_policy": True}
    world.must("POST", "auth/approle/role/colibri", also)
    try:
        state, seen = checks(cli)["orchestrator's reach"]
    finally:
        world.must(
            "POST",
            "auth/approle/role/colibri",
            also | {"token_policies": also["token_policies"][:1]},
        )
    assert state == "warn"
    assert seen.endswith("other policies too: backup")


def test_a_missing_policy_is_named(ready):
    cli, world = ready
    world.must("DELETE", "sys/policies/acl/colibri-tenant-acme")
    assert "colibri-tenant-acme" in checks(cli)["policies"][1]


def test_both_sides_are_compared(ready):
    cli, world = ready
    world.fill("beta", {"A": "1"})
    cli.register("acme", "--source", "vault")
    cli.register("beta", "--source", "vault")
    world.forget("beta")
    found = checks(cli)
    assert found["tenants without a collection"] == ("fail", "1: beta")


def test_sealed_is_said_and_nothing_behind_it_is_tried(ready):
    cli, world = ready
    if not world.server:
        pytest.skip("needs the double's seal")
    world.server.sealed = True
    found = checks(cli)
    assert found["server"] == ("fail", "the server is sealed")
    assert "collections" not in found


def test_another_cluster_than_at_the_login_is_a_mismatch(state_dir, world):
    cli = Cli(state_dir).ready()
    made = place.account(world, cluster_id="00000000-1111-2222-3333-444444444444")
    place.UriCredentials().put(f"file:{cli.state}/credentials/vault", made.blob())
    assert "another cluster" in checks(cli)["server"][1]


def test_a_refused_account_is_not_tried_again_until_somebody_acts(ready):
    cli, world = ready
    circuit = cli.state / CIRCUIT_FILE
    role = world.must("GET", "auth/approle/role/colibri/role-id")["data"]["role_id"]
    cli.register("acme", "--source", "vault")
    good = (cli.state / "credentials" / "vault").read_bytes()
    bad = place.account(world, secret_id=place.SecretValue("not-it"), role_id=role)
    place.UriCredentials().put(f"file:{cli.state}/credentials/vault", bad.blob())
    assert cli.run("provision", "acme").error["code"] == "source_auth_failed"
    assert circuit.exists()
    before = world.server.asked("approle/login") if world.server else 0
    again = cli.run("provision", "acme")
    assert "circuit is open" in again.error["message"]
    assert checks(cli)["circuit"][0] == "fail"
    assert "circuit is open" in cli.must("source", "show", "vault").text
    if world.server:
        assert world.server.asked("approle/login") == before
    (cli.state / "credentials" / "vault").write_bytes(good)
    cli.must("source", "test", "vault")
    assert not circuit.exists()
    cli.must("provision", "acme")


def test_a_sealed_server_opens_no_circuit(ready):
    cli, world = ready
    if not world.server:
        pytest.skip("needs the double's seal")
    world.server.fault("approle/login", 503, b'{"errors":["Vault is sealed"]}')
    assert cli.run("source", "test", "vault").error["code"] == "source_sealed"
    assert not (cli.state / CIRCUIT_FILE).exists()


@pytest.mark.parametrize("text", ["", "[]", "nonsense", "{}"])
def test_a_circuit_that_cannot_be_read_stops_and_says_what_to_do(ready, text):
    cli, _ = ready
    (cli.state / CIRCUIT_FILE).touch(mode=0o600)
    (cli.state / CIRCUIT_FILE).write_text(text)
    cli.register("acme", "--no-collection")
    assert cli.run("source", "policies", "vault", "--check").error["code"] == "unsafe_base"
