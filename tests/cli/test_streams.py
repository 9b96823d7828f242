"""Standard streams that are closed, full or gone: the status still says what happened."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kit.cli import INSTALLED, Cli
from tests.kit.places import private_directory


@pytest.fixture(scope="module")
def ready() -> Iterator[Cli]:
    with private_directory() as home:
        cli = Cli(home).ready()
        cli.tenant("acme")
        yield cli


def shell(cli: Cli, line: str) -> Any:
    """Run a line of sh in which `colibri` is the installed command."""
    return subprocess.run(
        ["sh", "-c", re.sub(r"(?<![\w/.-])colibri(?![\w/.-])", str(INSTALLED), line)],
        env=cli.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("colibri list-tenants >&-", 0),
        ("colibri list-tenants --json >&-", 0),
        ("colibri provision acme <&- >&- 2>&-", 0),
        ("colibri provision nobody 2>&-", 7),
        ("colibri provision nobody --json >&-", 7),
        ("colibri provision nobody --json >&- 2>&-", 7),
        ("colibri provision nobody 2>/dev/full", 7),
        ("colibri provision nobody --json >/dev/full", 7),
        ("colibri nonsense --json >/dev/full", 2),
        ("colibri secret import acme - <&-", 2),
        ("colibri secret set acme KEY <&-", 2),
        ("colibri list-tenants --json >/dev/full", 10),
        ("colibri --help >/dev/full", 10),
        ("colibri provision --help >/dev/full", 10),
        ("colibri --version >/dev/full", 10),
    ],
)
def test_the_status_stands_and_nobody_sees_a_traceback(ready: Cli, line: str, status: int) -> None:
    done = shell(ready, line)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert "internal" not in done.stderr


def test_no_file_of_colibri_becomes_a_standard_stream(ready: Cli) -> None:
    """Whatever writes to descriptor 2 must not write into the registry or the audit log."""
    code = (
        "import os; from cli import output; output.open_streams();"
        "fd = os.open('/', os.O_RDONLY);"
        "os._exit(0 if fd > 2 else 1)"
    )
    line = f'exec {INSTALLED.with_name("python")} -c "{code}" <&- >&- 2>&-'
    assert shell(ready, line).returncode == 0
