"""A row can say that something is done although the log does not: the next run says it too."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.cli import Cli


@pytest.fixture
def delivered(cli: Cli) -> Cli:
    cli.must("secret", "set", "acme", "API_KEY", stdin=b"value")
    cli.must("register-tenant", "acme", "--create-jail", "--tier", "scratch")
    cli.must("provision", "acme")
    return cli


def _events(cli: Cli) -> list[Any]:
    lines = cli.must("audit", "tail", "-n", "100", "--tenant", "acme", "--json").json["items"]
    return [line["event"] for line in lines]


def test_revoking_the_suspended_ends_what_suspending_does_not(delivered: Cli) -> None:
    delivered.must("suspend", "acme")
    assert delivered.must("revoke", "acme", "--json").json["changed"] is True
    assert _events(delivered)[-1] == "revoked"


def test_what_is_done_and_said_is_not_done_again(delivered: Cli) -> None:
    delivered.must("revoke", "acme")
    before = _events(delivered)
    for action in ("revoke", "suspend"):
        assert delivered.must(action, "acme", "--json").json["changed"] is False
    assert _events(delivered) == before
    delivered.must("resume", "acme")
    assert _events(delivered) == [*before, "resumed"]
    delivered.must("resume", "acme")
    assert _events(delivered) == [*before, "resumed"]


def test_a_delivery_that_cannot_be_logged_fails_and_is_adopted_later(
    delivered: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vault_svc.adapters.audit.jsonl import JsonlAudit
    from vault_svc.domain.audit import Event
    from vault_svc.errors import ColibriError

    append = JsonlAudit.append

    def full(self: JsonlAudit, entries: Any) -> Any:
        if entries[0].event is Event.DELIVERED:
            raise ColibriError("audit_unwritable", "no space left")
        return append(self, entries)

    delivered.must("secret", "set", "acme", "API_KEY", stdin=b"another")
    with monkeypatch.context() as patched:
        patched.setattr(JsonlAudit, "append", full)
        assert delivered.run("provision", "acme").error["code"] == "audit_unwritable"
    assert delivered.must("show-tenant", "acme", "--json").json["tenant"]["generation"] == 1
    assert delivered.must("provision", "acme", "--json").json["result"] == "adopted"
    assert delivered.must("show-tenant", "acme", "--json").json["tenant"]["generation"] == 2
    assert delivered.must("verify", "acme", "--json").json["items"][0]["state"] == "ok"
