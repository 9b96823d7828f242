"""What a run did before an error is told, whatever comes after it."""

from __future__ import annotations

import pytest

from tests.kit.cli import Cli
from vault_svc.errors import ColibriError
from vault_svc.services.provision import Provisioner


@pytest.mark.parametrize("extra", [(), ("--json",)])
def test_a_late_error_does_not_swallow_the_table(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, extra: tuple[str, ...]
) -> None:
    cli.run("secret", "set", "acme", "KEY", stdin=b"value").must()
    cli.run("register-tenant", "acme", "--create-jail", "--tier", "scratch").must()
    real = Provisioner.everyone

    def late(self, options):
        yield from real(self, options)
        raise ColibriError("audit_unwritable", "the log is full", hint="make room")

    monkeypatch.setattr(Provisioner, "everyone", late)
    answer = cli.run("provision", "--all", *extra)
    assert answer.status == 10
    assert "acme" in answer.text
    assert "delivered" in answer.text
    assert "audit_unwritable: the log is full" in answer.stderr
    assert not extra or answer.json["items"][0]["result"] == "delivered"
