"""An engine, a base or a record that does not answer hides nothing of the others."""

from __future__ import annotations

import pytest

from tests.kit.cli import Cli
from vault_svc.adapters.jails.nspawn import NspawnEngine
from vault_svc.adapters.jails.podman import PodmanEngine
from vault_svc.errors import ColibriError


@pytest.fixture
def jails(cli: Cli, monkeypatch) -> Cli:
    """A jail that is a tree, beside a podman that does not answer."""
    cli.must("jail", "create", "acme", "--engine=directory")

    def silent(*_):
        raise ColibriError("engine_failed", "it does not answer", hint="look at it")

    monkeypatch.setattr(PodmanEngine, "list", silent)
    return cli


def names(ran) -> list[str]:
    return [item["name"] for item in ran.json["items"]]


def test_the_others_jails_are_listed_and_the_silent_engine_is_told(jails):
    ran = jails.run("jail", "list")
    assert "acme" in ran.text
    assert ran.error["code"] == "engine_failed"
    assert ran.error["message"] == "engine 'podman': it does not answer"
    ran = jails.run("jail", "list", "--json")
    assert (names(ran), ran.status) == (["acme"], 4)


def test_each_silent_engine_is_told(jails, monkeypatch):
    def silent(*_):
        raise ColibriError("helper_timeout", "it hangs")

    monkeypatch.setattr(NspawnEngine, "list", silent)
    ran = jails.run("jail", "list", "--json")
    assert names(ran) == ["acme"]
    assert "engine 'podman'" in ran.stderr
    assert "engine 'nspawn'" in ran.stderr


def test_beside_a_silent_engine_a_jail_goes_by_its_own_engines_name(jails):
    refused = jails.run("jail", "destroy", "acme").error
    assert (refused["code"], refused["hint"]) == (
        "engine_failed",
        "name the engine: --engine directory",
    )
    assert names(jails.run("jail", "list", "--json")) == ["acme"]
    jails.must("jail", "destroy", "acme", "--engine=directory")
    assert names(jails.run("jail", "list", "--json")) == []


def test_a_jail_that_nobody_names_may_be_the_silent_engines(jails):
    assert jails.run("jail", "destroy", "other").error["code"] == "engine_failed"
    line = ("jail", "destroy", "other", "--engine=directory")
    assert jails.run(*line).error["code"] == "jail_not_found"


def test_an_unsafe_base_hides_no_other_bases_jails(cli: Cli):
    shared = cli.home / "shared"
    shared.mkdir()
    cli.settings["COLIBRI_JAIL_ROOT_BASE"] = f"{cli.home}/jails:{shared}"
    cli.must("jail", "create", "acme", "--engine=directory")
    shared.chmod(0o777)
    ran = cli.run("jail", "list", "--json")
    assert set(names(ran)) == {"acme"}
    assert ran.status != 0
    assert ran.stderr.splitlines()[-1].startswith("colibri: unsafe_base: engine 'directory'")
    cli.must("jail", "destroy", "acme", "--engine=directory")
    shared.chmod(0o700)
    assert cli.must("jail", "list", "--json").json["items"] == []


def test_a_record_that_cannot_be_read_hides_no_other_jail(cli: Cli):
    for name in ("acme", "beta", "zoo"):
        cli.must("jail", "create", name, "--engine=directory")
    record = cli.jail_root("beta").parent / "jail.json"
    record.write_text("half")
    record.chmod(0o600)
    ran = cli.run("jail", "list", "--json")
    assert set(names(ran)) == {"acme", "zoo"}
    assert "jail 'beta'" in ran.stderr
    assert ran.status != 0
