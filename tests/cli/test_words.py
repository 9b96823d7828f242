"""What a command says fits what was asked: the next step it names is one that works."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.kit.cli import Cli
from vault_svc.adapters.delivery_words import said
from vault_svc.adapters.jails.directory import DirectoryEngine
from vault_svc.hazmat.confine_error import Reason, Refused


def test_an_ephemeral_row_is_delivered_by_its_next_agent_until_its_jail_is_there(cli: Cli):
    cli.must("secret", "set", "acme", "API_KEY", stdin=b"x")
    cli.must("register-tenant", "acme", "--ephemeral", "--tier=scratch", "--env-path=/a/.env")
    told = cli.must("update-tenant", "acme", "--env-path=/b/.env").stderr
    assert "colibri spawn-agent delivers it" in told
    cli.must("jail", "create", "acme", "--engine=directory")
    told = cli.must("update-tenant", "acme", "--env-path=/.env").stderr
    assert "colibri provision acme delivers it" in told


def test_an_unknown_engine_is_told_before_the_source_is_asked(cli: Cli):
    refused = cli.run("register-tenant", "acme", "--engine=docker").error
    assert (refused["code"], refused["message"]) == ("usage", "there is no jail engine 'docker'")


def test_a_choice_that_is_none_is_told_without_a_librarys_words(cli: Cli):
    refused = cli.run("hook", "show", "podman", "--on-provision-failure=maybe").error
    assert "'maybe' is not one of" in refused["message"]
    assert "Value error" not in refused["message"]


@pytest.mark.parametrize("command", [("spawn-agent", "acme"), ("spawn-local",)])
def test_a_command_that_runs_a_program_sends_nobody_to_another_place_for_json(cli: Cli, command):
    refused = cli.run(*command, "--json", "--", "/bin/true").error
    assert (refused["code"], refused["message"]) == ("usage", "no --json here")
    assert refused["hint"] == "what it prints is the program's own"


def test_json_before_the_command_is_told_its_place(cli: Cli):
    refused = cli.run("--json", "list-tenants").error
    assert refused["hint"] == "it comes after the command: colibri list-tenants --json"


def test_a_jail_whose_engine_tells_no_root_is_listed_without_one(cli: Cli, monkeypatch):
    cli.must("jail", "create", "acme", "--engine=directory")
    listed = DirectoryEngine.list
    monkeypatch.setattr(
        DirectoryEngine, "list", lambda self: [replace(jail, root="") for jail in listed(self)]
    )
    assert cli.must("jail", "list").text.splitlines()[-1].split()[-1] == "-"


@pytest.mark.parametrize(
    ("line", "code"),
    [(("acme", "LD_PRELOAD"), "secret_name_refused"), (("A/B", "API_KEY"), "usage")],
)
def test_nobody_types_a_value_for_a_name_that_is_refused(cli: Cli, monkeypatch, line, code):
    asked = []
    monkeypatch.setattr("cli.prompt.value_from", lambda *said: asked.append(said))
    assert cli.run("secret", "set", *line).error["code"] == code
    assert asked == []


@pytest.mark.parametrize("given", ["jails/acme/root", "/", "/tmp/x"])
def test_a_root_that_is_not_allowed_is_shown_as_it_was_given(given):
    told = said(Refused(Reason.ROOT_NOT_ALLOWED, given, detail="why")).message
    assert told == f"the jail root '{given}' is not allowed (why)"
