"""Rule 6 where the failure is not the tenant's: a disk, the registry, the log."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from tests.kit.cli import Cli
from vault_svc.adapters.registry.lazy import LazyRegistry
from vault_svc.errors import ColibriError
from vault_svc.hazmat import confine_stage


@pytest.fixture
def two(cli: Cli) -> Cli:
    """acme and beta, registered, each in a batch of its own."""
    for name in ("acme", "beta"):
        cli.tenant(name)
    cli.settings["COLIBRI_BATCH_SIZE"] = "1"
    return cli


def results(cli: Cli, *options: str) -> dict[str, Any]:
    items = cli.run("provision", "--all", *options, "--json").json["items"]
    return {item["tenant_id"]: item["error"]["code"] if item["error"] else "" for item in items}


def generation(cli: Cli, tenant: str) -> int:
    found = cli.must("show-tenant", tenant, "--json").json["tenant"]["generation"]
    assert isinstance(found, int)
    return found


@pytest.mark.parametrize(("module", "name"), [(confine_stage, "sweep"), (confine_stage, "look")])
def test_a_disk_that_fails_anywhere_is_one_tenants_failure(
    two: Cli, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    real, acme = getattr(module, name), two.jail_root("acme") / "home/app"

    def worn(*arguments: Any, **options: Any) -> Any:
        fd = getattr(arguments[0], "fd", arguments[0])
        if os.readlink(f"/proc/self/fd/{fd}") in {str(acme), str(two.jail_root("acme"))}:
            raise OSError(errno.EIO, "worn out")
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, worn)
    assert results(two) == {"acme": "read_only", "beta": ""}


@pytest.mark.parametrize("method", ["newest", "open_intents", "commit"])
def test_a_registry_that_fails_once_stops_one_batch(
    two: Cli, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    real, calls = getattr(LazyRegistry, method), []

    def once(self: LazyRegistry, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise ColibriError("registry_corrupt", "a page cannot be read")
        return real(self, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(LazyRegistry, method, once)
        assert results(two) == {"acme": "registry_corrupt", "beta": ""}
    two.must("provision", "--all")
    assert [generation(two, name) for name in ("acme", "beta")] == [1, 1]
    two.must("audit", "verify")


def test_a_failed_run_keeps_the_intent_of_a_crashed_one(
    two: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Generation 1 was placed and never recorded: its number is not given to other bytes."""

    def dies(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LazyRegistry, "commit", dies)
        assert two.run("provision", "acme").status == 130
    two.must("secret", "set", "acme", "API_KEY", stdin=b"another")
    home = two.jail_root("acme") / "home/app"
    home.rename(home.with_name("away"))
    assert two.run("provision", "acme").error["code"] == "path_missing"
    home.with_name("away").rename(home)
    two.must("provision", "acme")
    lines = two.must("audit", "tail", "-n", "100", "--tenant", "acme", "--json").json["items"]
    announced = {
        (line["detail"]["generation"], line["detail"]["digest"])
        for line in lines
        if line["event"] == "will_deliver"
    }
    assert len({number for number, _ in announced}) == len(announced)
