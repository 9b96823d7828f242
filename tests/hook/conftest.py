"""A tenant of its own for each test of `colibri hook serve`, and a service that answers for it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.hook.serving import VALUE
from tests.kit.cli import Cli


@pytest.fixture
def acme(cli: Cli) -> Cli:
    cli.tenant("acme", API_KEY=VALUE)
    return cli


@pytest.fixture
def served(acme: Cli) -> Iterator[Cli]:
    with acme.serving():
        yield acme


@pytest.fixture
def served_by(acme: Cli) -> Iterator[tuple[Cli, subprocess.Popen[bytes]]]:
    with acme.serving() as service:
        yield acme, service
