"""A pytest that holds its packages ready and forks for each run: half of a run was their import.

Nothing of the copy is imported before the fork; a line of JSON asks, a line with a status answers.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import time

import pytest

PACKAGES = (
    "alembic.command",
    "cryptography.hazmat.primitives.asymmetric.rsa",
    "cryptography.x509",
    "hvac",
    "hypothesis",
    "pyrage",
    "requests",
    "responses",
    "rich.table",
    "sqlalchemy.dialects.sqlite",
    "sqlmodel",
    "typer.rich_utils",
    "typer.testing",
    "xml.etree.ElementTree",
)
OURS = ("vault_svc", "cli", "tests.kit", "tests.conftest")


def main() -> None:
    for package in PACKAGES:
        importlib.import_module(package)
    assert not [name for name in sys.modules if name.startswith(OURS)], "nothing to be mutated yet"
    gc.freeze()  # or each child would go through all of it at its end
    for line in sys.stdin:
        arguments, words, seconds = json.loads(line)
        child = os.fork()
        if child == 0:
            _with_streams_of_its_own(words)
            raise SystemExit(int(pytest.main(arguments)))
        print(json.dumps(_status(child, time.monotonic() + seconds)), flush=True)


def _with_streams_of_its_own(words: str) -> None:
    for path, way, streams in ((os.devnull, os.O_RDONLY, (0,)), (words, os.O_WRONLY, (1, 2))):
        fd = os.open(path, way)
        for stream in streams:
            os.dup2(fd, stream)
        os.close(fd)


def _status(child: int, give_up: float) -> int | None:
    """Return the exit status; None for a run that hung and was killed."""
    while True:
        pid, ended = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(ended)
        if time.monotonic() > give_up:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(0.01)


if __name__ == "__main__":
    main()
