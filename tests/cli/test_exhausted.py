"""A host that has no descriptors or memory left is `busy`: nothing is called corrupt or a fault."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from vault_svc.adapters.jails.directory import DirectoryEngine
from vault_svc.adapters.registry.lazy import LazyRegistry
from vault_svc.errors import ColibriError


@pytest.mark.parametrize("spare", range(8))
def test_few_descriptors_are_busy_not_corruption(cli, spare):
    """The registry's files are opened one by one: the limit is met at each of them."""
    cli.tenant("acme")
    path = str(cli.state / "colibri.sqlite")
    top = os.open("/", os.O_RDONLY)  # numbers are given from the lowest: these are in use up to top
    os.close(top)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    registry = LazyRegistry("", path)
    resource.setrlimit(resource.RLIMIT_NOFILE, (top + spare, hard))
    try:
        found = registry.rows(["acme"])
    except Exception as error:
        found = error
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        registry.dispose()
    if isinstance(found, Exception):
        assert isinstance(found, ColibriError), repr(found)
        assert found.code == "busy", found
    else:
        assert list(found) == ["acme"]


def test_no_memory_is_no_fault_of_colibri(cli, monkeypatch):
    def exhausted(*_):
        raise MemoryError

    cli.tenant("acme")
    monkeypatch.setattr(DirectoryEngine, "root_of", exhausted)
    refused = cli.run("provision", "acme")
    assert (refused.status, refused.error["code"]) == (10, "busy")


@pytest.mark.parametrize("umask", [0, 0o777])
def test_the_modes_of_the_state_do_not_depend_on_the_umask(cli, umask):
    cli.settings["COLIBRI_DAEMON_DATA_DIR"] = str(cli.home / "fresh")
    before = os.umask(umask)
    try:
        cli.must("init")
    finally:
        os.umask(before)
    fresh = Path(cli.home, "fresh")
    inside = [path for path in (fresh, *fresh.rglob("*")) if path.is_dir()]
    assert len(inside) >= 5
    assert {path.stat().st_mode & 0o7777 for path in inside} == {0o700}
