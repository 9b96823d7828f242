"""What the tests of `colibri hook serve` share: its callers, and what they look at."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.hook.containers import SHORT_WAY
from tests.kit.cli import INSTALLED, Cli, Result
from vault_svc.adapters.locks import FileLocks

VALUE = "sk-live-0123456789-of-nobody-else"
NOBODY = "/nowhere/colibri"
"""For who may not do it himself."""


def call(
    cli: Cli,
    *words: str,
    stdin: bytes = b"",
    seconds: str = "60",
    colibri: str = str(INSTALLED),
    **extra: str,
) -> Result:
    """Start the hook as an engine does."""
    way = [sys.executable, "-I", "-S", str(SHORT_WAY), str(cli.state / "hooks"), seconds]
    done = subprocess.run(
        [*way, colibri, "hook", *words],
        input=stdin, capture_output=True, env=cli.environment | extra, timeout=60, check=False,
    )  # fmt: skip
    return Result(words, done.returncode, done.stdout, done.stderr.decode())


def root(cli: Cli, jail: str = "acme") -> str:
    return str(cli.state / "jails" / jail / "root")


def plain(cli: Cli, *options: str, jail: str = "acme") -> tuple[str, ...]:
    return ("run", "--jail", jail, "--root", root(cli), *options)


def env_file(cli: Cli) -> Path:
    return Path(root(cli), "home/app/.env")


def events(cli: Cli) -> list[str]:
    return [line["event"] for line in cli.must("audit", "tail", "--json").json["items"]]


def children(service: subprocess.Popen[bytes]) -> list[str]:
    return Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()


def seconds_worked(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def until(true, seconds: float = 20) -> None:
    give_up = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def only_served(cli: Cli) -> Result:
    """Call the hook where nobody but the service could do it."""
    way = [sys.executable, "-I", "-S", str(SHORT_WAY), str(cli.state / "hooks"), "60"]
    line = [*way, "/nowhere/colibri", "hook", *plain(cli)]
    done = subprocess.run(line, env=cli.environment, capture_output=True, check=False)
    return Result(tuple(line), done.returncode, done.stdout, done.stderr.decode())


def connected(cli: Cli, said: bytes, *, whole: bool = True) -> socket.socket:
    """Say something to the service that no hook says."""
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(20)
    made.connect(str(cli.state / "hooks/serve.sock"))
    with suppress(BrokenPipeError, ConnectionResetError):
        made.sendall(said)
        if whole:
            made.shutdown(socket.SHUT_WR)
    return made


def held(cli: Cli):
    return FileLocks(str(cli.state / "provision.lock"), timeout_seconds=1).hold("acme")


def adopt(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    """Give this process the settings of a colibri, and none of the suite's own."""
    for name in [name for name in os.environ if name.startswith("COLIBRI_")]:
        monkeypatch.delenv(name)
    for name, value in cli.environment.items():
        monkeypatch.setenv(name, value)
