"""The pages about Vaultwarden, each in its situation, over a bw that answers as the real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit import fake_bw
from tests.kit.cli import Cli
from tests.kit.fake_bw import FakeBw
from tests.runbooks import pages

LINES = f"user.{fake_bw.USER}\n{fake_bw.CLIENT_SECRET}\n{fake_bw.PASSWORD}\n"


def _three_lines(cli: Cli) -> None:
    path = cli.home / "three-lines"
    path.write_text(LINES)
    path.chmod(0o600)


def _delivered(cli: Cli, fake: FakeBw) -> None:
    argv = ("source", "login", "vaultwarden", "--server", fake_bw.SERVER, "--organization", "Acme")
    cli.must(*argv, "--bw", str(fake.program), stdin=LINES.encode())
    cli.register("acme", "--source", "vaultwarden")
    cli.must("provision", "acme")


def _new_account(cli: Cli, fake: FakeBw) -> None:
    _three_lines(cli)


def _down(cli: Cli, fake: FakeBw) -> None:
    _delivered(cli, fake)
    said = "FetchError: request to x failed, reason: connect ECONNREFUSED 127.0.0.1:1"
    fake.will("login", "fail", said, sessions=2)


def _upgraded(cli: Cli, fake: FakeBw) -> None:
    _delivered(cli, fake)
    FakeBw(cli.home / "newer", "2026.8.78")


def _replaced(cli: Cli, fake: FakeBw) -> None:
    _delivered(cli, fake)
    _three_lines(cli)


SITUATIONS: dict[str, Callable[[Cli, FakeBw], None]] = {
    "vaultwarden-account.md": _new_account,
    "vaultwarden-down.md": _down,
    "bw-upgrade.md": _upgraded,
    "rotate-org-credential.md": _replaced,
}


@pytest.mark.parametrize("page", SITUATIONS)
def test_page_mends_its_situation(cli: Cli, page: str) -> None:
    fake = FakeBw(cli.home)
    SITUATIONS[page](cli, fake)
    environment = {
        **cli.environment,
        "VAULTWARDEN": fake_bw.SERVER,
        "BW": str(fake.program),
        "BW_NEW": str(cli.home / "newer" / fake.program.name),
    }
    blocks = pages.blocks(page)
    for block, output in zip(blocks, pages.run(blocks, environment, cli.home), strict=True):
        assert pages.missing(block, output) == [], f"{block.commands}\nshowed:\n{output}"
        assert fake_bw.PASSWORD not in output
    cli.must("provision", "acme")
    assert not Path(cli.home / "three-lines").exists()
    cli.must("audit", "verify")
