"""A batch proves the bases once and asks again at its end: what moved meanwhile got nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.kit.cli import Cli
from vault_svc.adapters.delivery import ConfinedDelivery
from vault_svc.adapters.registry.lazy import LazyRegistry

TENANTS = ("acme", "beta")


@pytest.fixture
def two(cli: Cli) -> Cli:
    for name in TENANTS:
        cli.tenant(name)
    return cli


def codes(cli: Cli) -> dict[str, str]:
    items = cli.run("provision", "--all", "--json").json["items"]
    return {item["tenant_id"]: item["error"]["code"] if item["error"] else "" for item in items}


def base_of(cli: Cli) -> Path:
    return cli.jail_root("acme").parent.parent


def test_base_moved_while_a_batch_writes_is_recorded_for_nobody(
    two: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, real = base_of(two), ConfinedDelivery.place
    aside = base.with_name("aside")

    def place(*arguments: Any, **options: Any) -> Any:
        placed = real(*arguments, **options)
        if not aside.exists():
            base.rename(aside)
            shutil.copytree(aside, base, copy_function=lambda *_: None)
        return placed

    with monkeypatch.context() as patched:
        patched.setattr(ConfinedDelivery, "place", place)
        assert codes(two) == {"acme": "tampered", "beta": "tampered"}
    assert not list(base.glob("*/root/home/app/.env"))
    shutil.rmtree(base)
    aside.rename(base)
    for name in TENANTS:
        assert two.must("show-tenant", name, "--json").json["tenant"]["generation"] == 0
    assert codes(two) == {"acme": "", "beta": ""}
    two.must("audit", "verify")


def test_a_base_that_cannot_be_held_spoils_no_jail_below_another(two: Cli) -> None:
    base = base_of(two)
    unsafe, gone = base.with_name("unsafe"), base.with_name("gone")
    unsafe.mkdir()
    unsafe.chmod(0o777)
    for bases in (f"{base}:{unsafe}:{gone}", f"{unsafe}:{gone}:{base}"):
        two.settings["COLIBRI_JAIL_ROOT_BASE"] = bases
        assert codes(two) == {"acme": "", "beta": ""}
        two.must("verify", "--all")
    two.must("revoke", "beta")
    assert not (base / "beta/root/home/app/.env").exists()


def _dies(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", ["adopted", "unchanged"])
def test_base_moved_while_a_batch_looks_is_recorded_for_nobody(
    two: Cli, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    if step == "unchanged":
        two.must("provision", "--all")
    else:
        with monkeypatch.context() as patched:  # killed between the files and their receipts
            patched.setattr(LazyRegistry, "commit", _dies)
            assert two.run("provision", "--all").status == 130
    base, real = base_of(two), ConfinedDelivery.astray
    aside = base.with_name("aside")

    def astray(*arguments: Any) -> Any:
        base.rename(aside)
        try:
            return real(*arguments)
        finally:
            aside.rename(base)

    monkeypatch.setattr(ConfinedDelivery, "astray", astray)
    assert codes(two) == {"acme": "tampered", "beta": "tampered"}
