"""Starting fast changes nothing that is said: the same values, refusals and help as Typer's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from cli import quick
from cli.app import app
from tests.kit.cli import Cli

HEAVY = ("sqlalchemy", "sqlmodel", "pydantic", "alembic", "rich", "hvac", "httpx", "pyrage")


def _try() -> typer.Typer:
    made = typer.Typer(rich_markup_mode=None)

    @made.callback()
    def options(config: Annotated[str | None, typer.Option()] = None) -> None:
        del config

    @made.command("do")
    def do(
        word: str,
        number: Annotated[int, typer.Option(min=2, max=1_000)] = 7,
        names: Annotated[list[str] | None, typer.Option()] = None,
        shout: bool = False,
    ) -> None:
        typer.echo(repr((word, number, names, shout)))

    @made.command("other")
    def other() -> None:
        typer.echo("other")

    return made


def _said(command: Any, words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[Any, ...]:
    try:
        status = command(words, prog_name="t", standalone_mode=False)
    except typer.TyperException as error:
        return type(error).__name__, error.format_message()
    return status, capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        "do", "do a", "do ''", "do 5", "do a b", "do --number 2 a", "do --number 1000 a",
        "do --number 1 a", "do --number 1001 a", "do --number -3 a", "do --number +3 a",
        "do --number 3.0 a", "do --number ٣ a", "do --number x a", "do --number 1_0 a",
        "do --number 99999999999999999999 a", "do --names x --names y a", "do --shout a",
        "do --help", "other", "other x", "nope", "--config f do a", "--help", "",
    ],
)  # fmt: skip
def test_it_says_what_typer_says(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word.strip("'") for word in line.split()]
    usual = _said(typer.main.get_command(_try()), words, capsys)
    assert _said(quick.command(_try(), words), words, capsys) == usual


def _commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield words
    for name, below in getattr(command, "commands", {}).items():
        yield from _commands(below, (*words, name))


@pytest.mark.parametrize("words", _commands(typer.main.get_command(app)), ids=" ".join)
def test_every_help_is_whole(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    line = [*words, "--help"]
    usual = _said(typer.main.get_command(app), line, capsys)
    assert _said(quick.command(app, line), line, capsys) == usual


def test_only_what_is_asked_for_is_built() -> None:
    assert list(quick.command(app, ["jail", "list"]).commands) == ["jail"]
    assert list(quick.command(app, ["list-tenants"]).commands) == ["list-tenants"]
    assert len(quick.command(app, ["--verbose", "jail"]).commands) > 10


@pytest.mark.parametrize("line", ["list-tenants --limit 5 --json", "list-tenants", "jail list"])
def test_commands_that_only_look_import_nothing_heavy(state_dir: Path, line: str) -> None:
    cli = Cli(state_dir)
    cli.must("init")
    code = (
        "import sys, atexit\nfrom cli.app import main\n"
        f"atexit.register(lambda: print('heavy:', *[n for n in {HEAVY!r} if n in sys.modules]))\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *line.split()],
        env=cli.environment, cwd=Path(__file__).parents[2],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1].split() == ["heavy:"]
