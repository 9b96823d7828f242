"""The hook's short way takes what Typer would take, and leaves everything else to Typer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli import app, hooking, lean, start
from tests.kit.cli import Cli

HEAVY = ("typer", "rich", "sqlalchemy", "sqlmodel", "pydantic", "alembic", "hvac", "requests")
PLAIN = (
    "hook run --jail a --root /r",
    "hook run --root /r --jail a --json",
    "hook run --jail=a --root=/r --on-provision-failure=continue",
    "hook oci",
    "hook oci --on-provision-failure refuse --json",
    "hook nspawn m",
    "hook nspawn --root /r m",
    "hook nspawn m --root=/r=s",
    "--config /dev/null hook bastille j",
)
OTHERS = (
    "", "hook", "hook run", "hook run --jail a", "hook run --help", "hook oci --help", "hook oci x",
    "hook run --jail a --root /r surplus", "hook run --jail a --jail b --root /r",
    "hook run --jail -a --root /r", "hook run --jail= --root /r", "hook run --root /r --jail",
    "hook oci --on-provision-failure maybe", "hook nspawn", "hook nspawn a b", "hook show podman",
    "hook nspawn m --", "--verbose hook oci", "--config hook oci", "--config",
    "hook install nspawn", "list-tenants", "hook oci -h", "hook bastille ''",
)  # fmt: skip


def _called(monkeypatch: pytest.MonkeyPatch, main: Any, line: str) -> list[Any]:
    """Return what a way of starting makes of a line."""
    seen: list[Any] = []
    monkeypatch.setattr(hooking, "answer", lambda _, asked: seen.append(vars(asked)))
    monkeypatch.setattr(sys, "argv", ["colibri", *line.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    return seen


@pytest.mark.parametrize("line", PLAIN)
def test_a_plain_line_means_what_it_means_to_typer(line, monkeypatch, cli: Cli):
    for name in [name for name in os.environ if name.startswith("COLIBRI_")]:
        monkeypatch.delenv(name)  # the suite's own, as CI sets them, are no settings
    for name, value in cli.environment.items():
        monkeypatch.setenv(name, value)
    usual = _called(monkeypatch, app.main, line)
    assert len(usual) == 1
    monkeypatch.setattr(app, "main", lambda: pytest.fail("Typer was asked"))
    assert _called(monkeypatch, start.main, line) == usual


@pytest.mark.parametrize("line", OTHERS)
def test_what_is_not_plain_is_left_to_typer(line):
    words = [word.strip("'") for word in line.split()]
    assert lean.hook(words) is None


def test_the_hook_imports_nothing_heavy(state_dir: Path) -> None:
    cli = Cli(state_dir)
    cli.must("init")
    root = cli.tenant("acme", API_KEY="value").parents[2]
    code = (
        "import sys, os\nfrom cli.start import main\nfrom cli import lean\nfrom vault_svc import"
        " wiring\nwiring.Services.in_time = lambda self, act: act()\n"
        "try:\n    main()\nfinally:\n"
        f"    print('heavy:', *[n for n in {HEAVY!r} if n in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "hook", "run", "--jail", "acme", "--root", str(root)],
        env=cli.environment, cwd=Path(__file__).parents[2],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["heavy:"], done.stderr
    assert "delivered, generation 1" in done.stderr
