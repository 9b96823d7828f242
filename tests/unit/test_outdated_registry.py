"""An older copy of the registry put back: what it forgot stays ended, and nothing else suffers."""

from __future__ import annotations

import pytest

from tests.kit.cli import Cli


@pytest.fixture
def two(cli: Cli) -> Cli:
    for tenant in ("acme", "beta"):
        cli.tenant(tenant, API_KEY="value")
    cli.must("provision", "--all")
    return cli


def registry(cli: Cli) -> dict[str, bytes]:
    """The registry's files; no colibri runs."""
    names = ("colibri.sqlite", "colibri.sqlite-wal", "colibri.sqlite-shm")
    return {name: (cli.state / name).read_bytes() for name in names if (cli.state / name).exists()}


def put_back(cli: Cli, files: dict[str, bytes]) -> None:
    for name in registry(cli):
        (cli.state / name).unlink()
    for name, content in files.items():
        (cli.state / name).touch(mode=0o600)
        (cli.state / name).write_bytes(content)


@pytest.mark.parametrize(("verb", "word"), [("suspend", "suspended"), ("revoke", "revoked")])
def test_who_was_ended_since_stays_so(two: Cli, verb: str, word: str) -> None:
    older = registry(two)
    two.must(verb, "acme")
    put_back(two, older)
    two.must("show-tenant", "acme")
    refused = two.run("provision", "acme")
    assert refused.error["code"] == "tenant_suspended"
    assert f"was {word}: the registry was an older copy" in refused.error["message"]
    assert two.run("provision", "acme").error["code"] == "tenant_suspended", "and again"
    assert not (two.state / "jails/acme/root/home/app/.env").exists()
    two.must(verb, "acme")
    assert two.run("provision", "acme").error["code"] == "tenant_suspended"
    two.must("resume", "acme")
    two.must("provision", "acme")


def test_the_others_are_delivered(two: Cli) -> None:
    older = registry(two)
    two.must("revoke", "acme")
    two.must("secret", "set", "beta", "API_KEY", stdin=b"another")
    put_back(two, older)
    done = two.run("provision", "--all", "--json")
    assert done.status == 9
    states = {item["tenant_id"]: item["result"] for item in done.json["items"]}
    assert states == {"acme": "failed", "beta": "delivered"}


def test_who_was_resumed_since_is_delivered(two: Cli) -> None:
    older = registry(two)
    two.must("suspend", "acme")
    two.must("resume", "acme")
    put_back(two, older)
    two.must("provision", "acme")


@pytest.mark.parametrize(
    "argv", [("secret", "set", "beta", "API_KEY"), ("revoke", "beta"), ("jail", "create", "spare")]
)
def test_no_other_command_makes_it_forgotten(two: Cli, argv: tuple[str, ...]) -> None:
    older = registry(two)
    two.must("revoke", "acme")
    put_back(two, older)
    two.must(*argv, stdin=b"another")
    assert two.run("provision", "acme").error["code"] == "tenant_suspended"


def test_who_was_offboarded_since_stays_so(two: Cli) -> None:
    older = registry(two)
    two.must("offboard", "acme")
    put_back(two, older)
    two.must("secret", "set", "beta", "API_KEY", stdin=b"another")
    assert two.run("provision", "acme").error["code"] == "tenant_offboarded"
