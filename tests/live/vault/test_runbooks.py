"""The runbooks about Vault and OpenBao, over a real server of their own, with its own program."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.cli import Cli
from tests.live.vault import database, process
from tests.runbooks import test_dynamic_secrets as leasing
from tests.runbooks.test_vault import SITUATIONS, play


@pytest.mark.parametrize("page", SITUATIONS)
def test_page_mends_its_situation(cli: Cli, page: str, tmp_path: Path) -> None:
    binary = process.binary()
    if binary is None:
        pytest.skip("set BAO_BIN or VAULT_BIN")
    with process.Server(binary, tmp_path) as server:
        (cli.home / "share").write_text(server.key)
        ca_file = cli.home / "ca.pem"
        ca_file.write_bytes(server.authority.file.read_bytes())
        server.world.ca_file = ca_file
        play(page, cli, server.world, Path(binary), server.seal)


@pytest.mark.xdist_group("postgres")
def test_the_page_about_leases(cli: Cli, tmp_path: Path, postgres: database.Postgres) -> None:
    binary = process.binary()
    if binary is None:
        pytest.skip("set BAO_BIN or VAULT_BIN")
    with process.Server(binary, tmp_path) as server:
        ca_file = cli.home / "ca.pem"
        ca_file.write_bytes(server.authority.file.read_bytes())
        server.world.ca_file = ca_file
        world = server.world.prepared()
        bank = database.RealBank(world, "database", "pki", postgres).opened()
        leasing.play(cli, world, bank, Path(binary))
