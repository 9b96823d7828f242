"""The page about leases, over the double of a server."""

from __future__ import annotations

import sys

from tests.kit.cli import Cli
from tests.kit.vault import Double, World
from tests.runbooks import pages
from tests.vault import place
from tests.vault.bank import Bank

PAGE = "dynamic-secrets.md"
_REVOKE = """#!{python}
import json, sqlite3, urllib.request
open_ = urllib.request.build_opener(urllib.request.ProxyHandler({{}})).open
head = {{"X-Vault-Token": "{token}"}}
for lease in sqlite3.connect("{db}").execute("SELECT lease_id FROM leases"):
    body = json.dumps({{"lease_id": lease[0]}}).encode()
    open_(urllib.request.Request("{url}/v1/sys/leases/revoke", body, head, method="PUT"))
"""


def test_page_mends_its_situation(cli: Cli) -> None:
    with Double() as double:
        world = World(double.url, double.root, server=double).prepared()
        bank = Bank(world, "database", "pki").opened()
        cli.tenant("acme")
        place.logged_in(cli, world)
        place.operator_file(cli, world)
        programs = cli.home / "bin"
        programs.mkdir()
        revoke = programs / "server-revokes"
        revoke.write_text(
            _REVOKE.format(
                python=sys.executable,
                token=world.root,
                url=world.url,
                db=cli.state / "colibri.sqlite",
            )
        )
        revoke.chmod(0o700)
        environment = cli.environment
        environment["PATH"] = f"{programs}:{environment['PATH']}"
        blocks = pages.blocks(PAGE)
        for block, output in zip(blocks, pages.run(blocks, environment, cli.home), strict=True):
            assert pages.missing(block, output) == [], f"{block.commands}\nshowed:\n{output}"
        assert bank.users() == set()
        cli.must("audit", "verify")
