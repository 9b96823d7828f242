"""The fixtures of tests/vault over a real server: BAO_BIN, VAULT_BIN, or VAULT_ADDR."""

from __future__ import annotations

import dataclasses
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kit.vault import World
from tests.live.vault import database, process
from vault_svc.adapters.sources.vault.places import POLICY_PREFIX


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.live)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[process.Server]:
    """A server that may be sealed and stopped."""
    binary = process.binary()
    if binary is None:
        pytest.skip("set BAO_BIN or VAULT_BIN")
    with process.Server(binary, tmp_path_factory.mktemp("vault")) as running:
        yield running


@pytest.fixture(scope="session")
def address(request: pytest.FixtureRequest) -> World:
    """Where the real server is."""
    if named := process.server():
        return named
    if process.binary() is None:
        pytest.skip("set BAO_BIN, VAULT_BIN or VAULT_ADDR")
    return request.getfixturevalue("server").world


@pytest.fixture
def new_world(address: World) -> Callable[..., World]:
    """Make worlds of a mount of their own on the one real server; a test begins without tenants."""
    if process.server() is None:  # ours alone: policies are of no mount, and would be another's
        for name in address.must("LIST", "sys/policies/acl")["data"]["keys"]:
            if name.startswith(POLICY_PREFIX):
                address.must("DELETE", f"sys/policies/acl/{name}")

    def make(*, version: int = 2) -> World:
        mount = f"kv-{secrets.token_hex(6)}"
        return dataclasses.replace(address, mount=mount, version=version).prepared()

    return make


@pytest.fixture
def world(new_world: Callable[..., World]) -> World:
    return new_world()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[database.Postgres]:
    """A database that may be stopped."""
    programs = database.programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed, or this account has no name")
    home = Path(tempfile.mkdtemp(prefix="colibri-postgres-"))
    try:
        with database.Postgres(programs, home) as running:
            yield running
    finally:
        shutil.rmtree(home)


@pytest.fixture
def bank(world: World, postgres: database.Postgres) -> database.RealBank:
    mark = secrets.token_hex(6)
    return database.RealBank(world, f"db-{mark}", f"pki-{mark}", postgres).opened()
