"""What a person meets first: help, completion, the form of errors, colour."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from cli.app import app
from tests.kit.cli import INSTALLED, Cli

ERROR_LINE = re.compile(r"colibri: [a-z_]+: [^\n]+ \(hint: [^\n]+\)\n")
SECRET_WORDS = re.compile(r"value|secret|password|token|credential|passphrase", re.IGNORECASE)


def _tree() -> dict[str, Any]:
    def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
        yield path, command
        for name, each in getattr(command, "commands", {}).items():
            yield from walk(each, f"{path} {name}".strip())

    return dict(walk(typer.main.get_command(app), ""))


TREE = _tree()
COMMANDS = {path: each for path, each in TREE.items() if not hasattr(each, "commands")}


@pytest.mark.parametrize("path", TREE, ids=lambda path: path or "colibri")
def test_help_is_whole_at_eighty_columns(state_dir: Any, path: str) -> None:
    cli = Cli(state_dir, {"COLUMNS": "80"})
    for flag in ("--help", "-h"):
        shown = cli.run(*path.split(), flag).must()
        assert shown.text.startswith(f"Usage: colibri {path}".strip())
        assert max(map(len, shown.text.splitlines())) <= 80
        summaries = shown.text.partition("Commands:")[2]
        assert "..." not in summaries, "a summary was cut: make the first sentence shorter"


@pytest.mark.parametrize("path", COMMANDS)
def test_command_shows_an_example_of_itself(path: str) -> None:
    text = COMMANDS[path].help
    examples = re.findall(r"Example: (colibri .+)", text)
    assert examples, f"{path} --help has no example"
    assert all(example.startswith(f"colibri {path}") for example in examples)


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_says_what_it_does(path: str) -> None:
    for parameter in COMMANDS[path].params:
        assert parameter.help, f"{path}: {parameter.name} has no help"


@pytest.mark.parametrize("path", COMMANDS)
def test_no_command_takes_a_secret_as_an_argument(path: str) -> None:
    for parameter in COMMANDS[path].params:
        names = " ".join([parameter.name or "", *parameter.opts])
        assert not SECRET_WORDS.search(names), f"{path} takes {names} from argv"


def test_a_value_typed_as_an_argument_is_refused_and_not_repeated(cli: Cli) -> None:
    for argv in (("secret", "set", "acme", "A", "s3cr3t"), ("secret", "set", "acme", "A=s3cr3t")):
        result = cli.run(*argv, stdin=b"x")
        assert result.status in {2, 5}
        assert "s3cr3t" not in result.stderr + result.text


def test_version(cli: Cli) -> None:
    assert re.fullmatch(r"colibri \d+\.\d+\.\d+\n", cli.must("--version").text)


def test_no_command_is_a_page_of_help_or_a_usage_error(cli: Cli) -> None:
    result = cli.run()
    assert result.status == 2
    assert "Commands:" in result.text + result.stderr


@pytest.mark.parametrize(
    "line",
    [
        "no-such-command",
        "provision",
        "provision acme --all",
        "provision --al",
        "show-tenant",
        "list-tenants --limit many",
        "list-tenants --limit -1",
        "list-tenants --status asleep",
        "register-tenant acme --owner me",
        "register-tenant acme --tier gold",
        "register-tenant acme --no-collection --engine warp",
        "secret list acme --source cloud",
        "key rotate",
        "show-tenant nobody",
        "revoke nobody",
        "jail destroy nobody",
        "secret list nobody",
        "--config /nonexistent/colibri.toml list-tenants",
    ],
)
def test_error_is_one_line_with_a_hint(cli: Cli, line: str) -> None:
    result = cli.run(*line.split())
    if line == "key rotate":  # a group alone shows its help, as colibri does
        assert result.status == 2
        return
    assert result.status not in {0, 1}
    assert ERROR_LINE.fullmatch(result.stderr), result.stderr
    assert result.stdout == b""


def test_completion_knows_the_commands(state_dir: Any) -> None:
    cli = Cli(state_dir, {"SHELL": "/bin/bash"})
    assert "complete -o default -F _colibri_completion colibri" in (
        cli.process("--show-completion", "bash").must().text
    )
    words = {"_COLIBRI_COMPLETE": "complete_bash", "COMP_WORDS": "colibri re", "COMP_CWORD": "1"}
    found = Cli(state_dir, words).process().must().text.split()
    assert set(found) == {"register-tenant", "renew", "resume", "revoke"}


def _on_a_terminal(cli: Cli, *argv: str, columns: str = "120") -> bytes:
    """Run with stdout and stderr on a pseudo-terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [str(INSTALLED), *argv],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**cli.environment, "TERM": "xterm-256color", "COLUMNS": columns},
        cwd=cli.home,
    ) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # Linux says EIO when the other end is closed
                break
            if not part:
                break
            said += part
        process.wait(timeout=30)
    os.close(ours)
    return said


def test_colour_only_on_a_terminal(cli: Cli) -> None:
    cli.tenant()
    cli.must("provision", "acme")
    green = b"\x1b[32m"
    assert green in _on_a_terminal(cli, "verify", "acme")
    assert b"\x1b" not in cli.process("verify", "acme").must().stdout
    assert green not in _on_a_terminal(Cli(cli.home, {"NO_COLOR": "1"}), "verify", "acme")
    assert b"\x1b" not in _on_a_terminal(cli, "show-tenant", "nobody")


def test_names_of_others_cannot_drive_the_terminal(cli: Cli) -> None:
    result = cli.run("show-tenant", "\x1b]0;owned\x07\x1b[31m")
    assert "\x1b" not in result.stderr
    assert ERROR_LINE.fullmatch(result.stderr)


@pytest.mark.parametrize(
    ("typed", "there_is"),
    [
        ("list", "colibri list-tenants"),
        ("secret get acme A", "not shown"),
        ("secret delete acme A", "colibri secret unset"),
        ("--json list-tenants", "comes after the command"),
    ],
)
def test_a_command_that_people_try_is_answered(cli: Cli, typed: str, there_is: str) -> None:
    result = cli.run(*typed.split())
    assert result.status == 2
    assert there_is in result.stderr
    assert "Did you mean" not in result.stderr


def test_a_narrow_terminal_gets_blocks_with_whole_words(cli: Cli) -> None:
    cli.tenant()
    said = _on_a_terminal(cli, "list-tenants", columns="60").decode()
    assert re.search(r"^TENANT +\S* +acme", re.sub(r"\x1b\[[\d;]*m", "", said), re.MULTILINE)
    assert "/home/app/.env" in said


def test_a_reader_that_goes_is_no_error_and_a_full_one_is(cli: Cli) -> None:
    def run(stdout: int) -> tuple[int, bytes]:
        ran = subprocess.run(
            [str(INSTALLED), "doctor", "--json"],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=cli.environment,
            cwd=cli.home,
            timeout=60,
            check=False,
        )
        return ran.returncode, ran.stderr

    gone, ours = os.pipe()
    os.close(gone)
    try:
        assert run(ours) == (0, b"")
    finally:
        os.close(ours)
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        status, said = run(full)
    finally:
        os.close(full)
    assert (status, said.partition(b":")[2].strip().partition(b":")[0]) == (10, b"no_space")


@pytest.mark.parametrize("command", [("audit", "tail"), ("audit", "verify"), ("jail", "list")])
def test_a_host_without_state_says_so_instead_of_showing_nothing(
    state_dir: Path, command: tuple[str, ...]
) -> None:
    answer = Cli(state_dir).run(*command)
    assert answer.status == 2
    assert "not initialised" in answer.stderr
