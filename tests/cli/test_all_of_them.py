"""What is said of many: who is suspended, who was never delivered to, whose jail it is."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.kit import schemas
from tests.kit.cli import Cli
from vault_svc.adapters.locks import FileLocks
from vault_svc.adapters.registry.lazy import LazyRegistry


def results(cli: Cli, *words: str) -> dict[str, str]:
    items = cli.must("provision", "--all", *words, "--json").json["items"]
    return {item["tenant_id"]: item["result"] for item in items}


def test_suspended_tenants_are_counted(cli: Cli) -> None:
    for name in ("acme", "beta"):
        cli.tenant(name)
    cli.must("suspend", "beta")
    assert results(cli) == {"acme": "delivered", "beta": "suspended"}
    said = cli.must("provision", "--all").stderr
    assert "1 suspended, 1 unchanged" in said


def test_repair_delivers_nothing_that_was_not_delivered_before(cli: Cli) -> None:
    never, gone, there = (cli.tenant(name) for name in ("never", "gone", "there"))
    for name in ("gone", "there"):
        cli.must("provision", name)
    cli.must("suspend", "gone")
    cli.must("resume", "gone")
    there.write_text("drifted")
    assert results(cli, "--repair") == {
        "never": "not_delivered",
        "gone": "not_delivered",
        "there": "delivered",
    }
    assert not never.exists()
    assert not gone.exists()
    assert cli.must("provision", "never", "--repair", "--json").json["result"] == "not_delivered"
    assert not never.exists()
    cli.must("provision", "never")
    assert never.exists()


def test_repair_delivers_what_a_crash_left_without_a_receipt(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cli.tenant("acme")
    with monkeypatch.context() as patched:
        patched.setattr(LazyRegistry, "commit", _interrupt)
        assert cli.run("provision", "acme").status == 130
    path.unlink()
    assert results(cli, "--repair") == {"acme": "delivered"}


def _interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_busy_tenants_share_one_time_to_wait(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.settings["COLIBRI_BATCH_SIZE"] = "1"
    cli.settings["COLIBRI_LOCK_TIMEOUT_SECONDS"] = "1"
    names = ("acme", "beta", "gamma")
    for name in names:
        cli.tenant(name)
    asked: list[float | None] = []
    hold = FileLocks.hold

    def remember(self: FileLocks, tenant_id: str, **more: Any) -> Any:
        asked.append(more.get("until"))
        return hold(self, tenant_id, **more)

    other = FileLocks(str(cli.state / "provision.lock"), timeout_seconds=1)
    with hold(other, "acme"), hold(other, "beta"), hold(other, "gamma"):
        monkeypatch.setattr(FileLocks, "hold", remember)
        before = time.monotonic()
        assert cli.run("provision", "--all").status == 9
    first, again = asked[:3], asked[3:]
    assert first == [0.0] * 3
    assert len(again) == 3
    assert len(set(again)) == 1
    assert before + 1 <= (again[0] or 0.0) <= time.monotonic() + 1


def test_an_interrupt_is_an_error_document_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.tenant("acme")
    monkeypatch.setattr(LazyRegistry, "commit", _interrupt)
    result = cli.run("provision", "acme", "--json")
    assert result.status == 130
    assert result.json["error"]["code"] == result.error["code"] == "interrupted"
    assert schemas.complaints(result.json) == []


def test_a_data_directory_that_others_may_write_is_an_unsafe_base(cli: Cli) -> None:
    cli.tenant("acme")
    cli.state.chmod(0o777)
    for words in (("list-tenants",), ("provision", "--all"), ("init",)):
        assert cli.run(*words).error["code"] in {"unsafe_base", "credential_unsafe"}, words
    assert cli.run("list-tenants").error["code"] == "unsafe_base"
    cli.state.chmod(0o700)
    cli.must("provision", "--all")


def test_jails_are_listed_with_their_tenants(cli: Cli) -> None:
    cli.tenant("acme")
    cli.tenant("gone")
    cli.must("jail", "create", "spare")
    cli.must("offboard", "gone")
    items = cli.must("jail", "list", "--json").json["items"]
    whose = {item["name"]: item["tenant"] for item in items}
    assert whose == {"acme": "acme", "gone": None, "spare": None}
    table = cli.must("jail", "list").text.splitlines()
    assert table[0].split()[:4] == ["JAIL", "ENGINE", "STATE", "TENANT"]
