"""The page about leases, over the double of a server and a `bao` that speaks its API.

tests/live/vault/test_runbooks.py plays it over a real server, a real database, the real program.
"""

from __future__ import annotations

from pathlib import Path

from tests.kit.cli import Cli
from tests.kit.vault import Double, World, fake_bao
from tests.runbooks import pages
from tests.vault import place
from tests.vault.bank import Bank

PAGE = "dynamic-secrets.md"


def play(cli: Cli, world: World, bank: Bank, bao: Path) -> None:
    """Run the page's blocks for a tenant that leases nothing yet, and see that all is well."""
    cli.tenant("acme")
    place.logged_in(cli, world)
    place.operator_file(cli, world)
    environment = cli.environment | {
        "BAO": str(bao),
        "BAO_ADDR": world.url,
        "BAO_TOKEN": world.root,
    }
    environment |= {"BAO_CACERT": str(world.ca_file)} if world.ca_file else {}
    blocks = pages.blocks(PAGE)
    for block, output in zip(blocks, pages.run(blocks, environment, cli.home), strict=True):
        assert pages.missing(block, output) == [], f"{block.commands}\nshowed:\n{output}"
        assert world.root not in output
    assert bank.users() == set()
    cli.must("audit", "verify")


def test_page_mends_its_situation(cli: Cli) -> None:
    with Double() as double:
        world = World(double.url, double.root, server=double).prepared()
        bank = Bank(world, "database", "pki").opened()
        play(cli, world, bank, fake_bao.install(cli.home))
