"""The pages about Vault and OpenBao, over a double and a `bao` that speaks its API.

tests/live/vault/test_runbooks.py plays them over a real server with the real program.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.cli import Cli
from tests.kit.vault import Double, World, fake_bao
from tests.runbooks import pages
from tests.vault import place
from vault_svc.adapters.sources.vault.session import CIRCUIT_FILE

Seal = Callable[[], None]


def _empty(cli: Cli, world: World, seal: Seal) -> None:
    """Nothing is there yet."""


def _delivered(cli: Cli, world: World) -> None:
    world.prepared()
    world.fill("acme", {"API_KEY": "sk-live-0123456789"})
    place.logged_in(cli, world)
    cli.register("acme", "--source", "vault")
    cli.must("provision", "acme")


def _sealed(cli: Cli, world: World, seal: Seal) -> None:
    _delivered(cli, world)
    seal()


def _stolen(cli: Cli, world: World, seal: Seal) -> None:
    _delivered(cli, world)
    bad = place.account(world, secret_id=place.SecretValue("not-it-any-more"))
    place.UriCredentials().put(f"file:{cli.state}/credentials/vault", bad.blob())
    assert cli.run("provision", "acme").error["code"] == "source_auth_failed"
    assert (cli.state / CIRCUIT_FILE).exists()


SITUATIONS: dict[str, Callable[[Cli, World, Seal], None]] = {
    "vault-setup.md": _empty,
    "vault-sealed.md": _sealed,
    "vault-token-lost.md": _stolen,
}


def play(page: str, cli: Cli, world: World, bao: Path, seal: Seal) -> None:
    """Bring the situation about, run the page's blocks, and see that all is well."""
    SITUATIONS[page](cli, world, seal)
    environment = {
        **cli.environment,
        "BAO": str(bao),
        "BAO_ADDR": world.url,
        "BAO_TOKEN": world.root,
        "VAULT": world.url,
    }
    if world.ca_file:
        environment |= {"BAO_CACERT": str(world.ca_file), "CA": str(world.ca_file)}
    blocks = pages.blocks(page)
    for block, output in zip(blocks, pages.run(blocks, environment, cli.home), strict=True):
        assert pages.missing(block, output) == [], f"{block.commands}\nshowed:\n{output}"
        assert "sk-live-0123456789" not in output
        assert world.root not in output
    assert "unchanged" in cli.must("provision", "--all").stderr
    assert not (cli.home / "two-lines").exists()
    assert not (cli.home / "operator").exists()
    cli.must("audit", "verify")


@pytest.mark.parametrize("page", SITUATIONS)
def test_page_mends_its_situation(cli: Cli, page: str) -> None:
    with Double() as double:
        world = World(double.url, double.root, server=double)

        def seal() -> None:
            double.sealed = True

        (cli.home / "share").write_text("c2hhcmU=")
        play(page, cli, world, fake_bao.install(cli.home), seal)
