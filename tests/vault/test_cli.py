"""The commands over a server: from the empty one to the delivered file, and what each says."""

from __future__ import annotations

import json

import pytest

from tests.kit import schemas
from tests.kit.cli import Cli
from tests.vault import place

VAULT = ("--source", "vault")


@pytest.fixture
def ready(state_dir, world):
    """A colibri that is logged in, and its world."""
    return place.logged_in(Cli(state_dir).ready(), world), world


def events(cli: Cli) -> list[str]:
    lines = (cli.state / "audit" / "audit.jsonl").read_text().splitlines()
    return [json.loads(line)["event"] for line in lines]


def delivered(cli: Cli, tenant: str = "acme") -> str:
    return (cli.jail_root(tenant) / "home/app/.env").read_text()


def asked(world) -> int:
    return len(world.server.log)


def test_the_whole_story(state_dir, world):
    cli = Cli(state_dir).ready()
    operator = ("--operator-file", place.operator_file(cli, world))
    role_id, wrapped = world.approle()
    login = ["source", "login", "vault", "--server", world.url, "--mount", world.mount, "--default"]
    if world.ca_file:
        login += ["--ca-file", str(world.ca_file)]
    said = cli.must(*login, "--json", stdin=f"{role_id}\n{wrapped}\n".encode())
    assert schemas.complaints(said.json) == []
    assert (said.json["place"], said.json["helper"]) == (
        f"{world.mount}/tenants (KV version 2)",
        "",
    )
    cli.must("secret", "set", "acme", "API_KEY", *VAULT, *operator, stdin=b"sk-0123456789")
    listed = cli.must("secret", "list", "acme", *VAULT, *operator, "--json")
    assert schemas.complaints(listed.json) == []
    cli.register("acme")
    first = cli.run("provision", "acme")
    assert first.error["code"] == "source_forbidden"
    assert first.error["hint"] == "colibri source policies vault --apply"
    applied = cli.must("source", "policies", "vault", "--apply", *operator, "--json")
    assert schemas.complaints(applied.json) == []
    assert cli.must("source", "policies", "vault", "--check").text.count("same") == 3
    cli.must("provision", "acme")
    assert "API_KEY=sk-0123456789" in delivered(cli)
    for line in ("source show vault", "source test vault", "source doctor vault"):
        assert schemas.complaints(cli.must(*line.split(), "--json").json) == [], line
    cli.must("verify", "acme")
    receipt = cli.must("offboard", "acme", "--json").json
    assert receipt["ended"] == ["policy colibri-tenant-acme"]
    assert cli.must("source", "policies", "vault", "--apply", *operator).text.count("acme") == 0
    assert cli.must("source", "logout", "vault").status == 0
    assert cli.run("source", "show", "vault").error["code"] == "credential_missing"
    assert {"source_login", "source_policies", "collection_changed", "source_logout"} <= set(
        events(cli)
    )


def test_policies_are_printed_before_there_is_an_account(cli):
    whole = cli.must("source", "policies", "vault", "--print").text
    assert "==> colibri-orchestrator (policy)" in whole
    one = cli.must("source", "policies", "vault", "--print", "--name", "colibri-tenant").text
    assert one.startswith("{")
    said = cli.must("source", "policies", "vault", "--print", "--json").json
    assert schemas.complaints(said) == []
    assert {each["state"] for each in said["items"]} == {""}


@pytest.mark.parametrize(
    "line",
    [
        "source policies vault",
        "source policies vault --print --check",
        "source policies vault --check --name x",
        "source policies vault --print --name nothing",
        "source policies vaultwarden --print",
        "source login vault",
        "source login vault --stored --server https://x",
    ],
)
def test_wrong_usage_is_one_line(cli, line):
    assert cli.run(*line.split()).error["code"] == "usage"


def test_drift_of_the_server_ends_with_eight(ready):
    cli, world = ready
    world.fill("acme", {"A": "1"})
    world.must("DELETE", "sys/policies/acl/colibri-tenant-acme")
    found = cli.run("source", "policies", "vault", "--check", "--json")
    assert (found.status, found.error["code"]) == (8, "drift")
    assert schemas.complaints(found.json) == []


def test_stdin_is_not_taken_for_value_and_token_both(ready):
    cli, _ = ready
    found = cli.run("secret", "set", "acme", "A", *VAULT, stdin=b"x")
    assert found.error["code"] == "usage"
    assert "--operator-file" in found.error["hint"]


def test_an_operators_token_is_not_taken_for_a_source_that_needs_none(ready):
    cli, world = ready
    file = place.operator_file(cli, world)
    assert cli.run("secret", "list", "acme", "--operator-file", file).error["code"] == "usage"


def test_secrets_are_imported_listed_and_unset(ready):
    cli, world = ready
    operator = (*VAULT, "--operator-file", place.operator_file(cli, world))
    cli.must("secret", "import", "acme", "-", *operator, stdin=b"A=1\nB=2\n")
    cli.must("secret", "unset", "acme", "A", *operator)
    assert cli.must("secret", "list", "acme", *operator).text.split()[-3] == "B"
    (cli.home / "operator").write_text("wrong")
    assert cli.run("secret", "list", "acme", *operator).error["code"] == "source_forbidden"
    (cli.home / "operator").chmod(0o644)
    assert cli.run("secret", "list", "acme", *operator).error["code"] == "credential_unsafe"


# Unchanged tenants: one metadata read each, and never a wrong "unchanged".


@pytest.fixture
def fleet(ready):
    """Three delivered tenants."""
    cli, world = ready
    for name in ("acme", "beta", "zoo"):
        world.fill(name, {"NAME": name})
        cli.register(name, *VAULT)
    cli.must("provision", "--all")
    return cli, world


def test_unchanged_tenants_cost_one_metadata_read_each(fleet):
    cli, world = fleet
    if not world.server:
        pytest.skip("needs the double's log")
    world.server.log.clear()
    assert "3 unchanged" in cli.must("provision", "--all").stderr
    assert world.server.asked("/metadata/tenants/") == 3
    assert world.server.asked("token/create") == world.server.asked("/data/") == 0
    assert asked(world) == 3 + 4  # health, login, lookup, revoke


def test_a_changed_tenant_is_told_among_unchanged_ones(fleet):
    cli, world = fleet
    world.put("beta", {"NAME": "beta2"})
    outcome = cli.must("provision", "--all")
    assert "1 delivered, 2 unchanged" in outcome.stderr
    assert "NAME=beta2" in delivered(cli, "beta")


def spoil_bytes(cli, path):
    path.write_text(path.read_text() + "MORE=1\n")


def spoil_mode(cli, path):
    path.chmod(0o644)


def spoil_missing(cli, path):
    path.unlink()


def spoil_profile(cli, path):
    cli.must("update-tenant", "acme", "--profile", "shell")


@pytest.mark.parametrize(
    "spoil", [spoil_bytes, spoil_mode, spoil_missing, spoil_profile], ids=lambda each: each.__name__
)
def test_what_differs_here_is_never_called_unchanged(fleet, spoil):
    """The version at the server is the one that was delivered all the same."""
    cli, _ = fleet
    path = cli.jail_root("acme") / "home/app/.env"
    spoil(cli, path)
    assert "1 delivered, 2 unchanged" in cli.must("provision", "--all").stderr
    assert path.read_text().splitlines()[1:] in (["NAME=acme"], ["NAME='acme'"])
    assert path.stat().st_mode & 0o777 == 0o600
    assert "3 unchanged" in cli.must("provision", "--all").stderr


def test_a_name_that_is_not_allowed_any_more_is_refused_though_nothing_changed(fleet):
    cli, world = fleet
    world.put("acme", {"GIT_TOKEN": "x"})
    cli.settings["COLIBRI_ALLOWED_VARIABLES"] = "GIT_TOKEN"
    cli.must("provision", "acme")
    assert cli.must("provision", "acme").status == 0
    del cli.settings["COLIBRI_ALLOWED_VARIABLES"]
    assert cli.run("provision", "acme").error["code"] == "secret_name_refused"


def test_a_file_spoiled_between_the_question_and_the_lock_is_written_again(fleet, monkeypatch):
    """The source said unchanged; what the jail holds is looked at once more under the lock."""
    from vault_svc.adapters.sources.vault import source as sources

    cli, _ = fleet
    path = cli.jail_root("acme") / "home/app/.env"
    real, spoiled = sources._is_still, []

    def while_asking(delivered, name, session, revisions):
        if name == "acme" and not spoiled:
            spoiled.append(path.write_text("ATTACK=1\n"))
        return real(delivered, name, session, revisions)

    monkeypatch.setattr(sources, "_is_still", while_asking)
    assert cli.run("provision", "--all").status == 0
    assert path.read_text().endswith("NAME=acme\n")


def test_a_deleted_version_leaves_the_delivered_file_and_says_so(fleet):
    cli, world = fleet
    world.newest("acme", "delete")
    outcome = cli.run("provision", "--all")
    assert outcome.status == 9
    assert "secret_missing" in outcome.text + outcome.stderr
    assert "NAME=acme" in delivered(cli)


def test_revoke_removes_the_file_and_resume_needs_no_operator(fleet):
    cli, _ = fleet
    cli.must("revoke", "acme")
    assert cli.run("provision", "acme").error["code"] == "tenant_suspended"
    cli.must("resume", "acme")
    cli.must("provision", "acme")
    assert "NAME=acme" in delivered(cli)


def test_offboarding_while_the_server_is_away_is_finished_later(fleet):
    cli, world = fleet
    if not world.server:
        pytest.skip("needs the double's seal")
    path = cli.jail_root("acme") / "home/app/.env"
    world.server.sealed = True
    assert cli.run("offboard", "acme").error["code"] == "source_sealed"
    assert not path.exists()
    world.server.sealed = False
    assert cli.must("offboard", "acme", "--json").json["ended"] == ["policy colibri-tenant-acme"]
