"""The fixture `new_world` over a real Vaultwarden.

VAULTWARDEN_BIN is started on loopback, or VAULTWARDEN_URL is used as it is; then
VAULTWARDEN_CA_FILE names the CA of a server that is not started here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.vaultwarden import ARGON2ID
from tests.kit.vaultwarden.world import NewWorld
from tests.live.vaultwarden import process
from tests.live.vaultwarden.real import PBKDF2, Real

KDFS = {"pbkdf2": PBKDF2, "argon2id": ARGON2ID}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.live)


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Where the real server is, and its CA."""
    if named := process.server():
        yield named
        return
    binary = process.binary()
    if binary is None:
        pytest.skip("set VAULTWARDEN_BIN or VAULTWARDEN_URL")
    with process.Vaultwarden(binary, tmp_path_factory.mktemp("vaultwarden")) as running:
        yield running.url, running.ca_file


@pytest.fixture
def new_world(address: tuple[str, Path]) -> Iterator[NewWorld]:
    """Make worlds of accounts of their own on the one real server."""
    with contextlib.ExitStack() as stack:

        def make(*, kdf: str = "pbkdf2", **asked) -> Real:
            return stack.enter_context(Real(*address, kdf=KDFS[kdf], **asked))

        yield make
