"""The proof as people see it: a checklist with times on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from cli.proof.outcome import FAILED, NOT_SHOWN, OK, Result
from vault_svc.errors import printable

if TYPE_CHECKING:
    from rich.console import Console

_TITLE = 32
_MARKS: Final = {OK: ("✓", "green"), FAILED: ("✗", "bold red"), NOT_SHOWN: ("-", "yellow")}
_TIME = 8
_WORDS = {OK: "ok", FAILED: "FAILED", NOT_SHOWN: "not shown"}


class Checklist(Protocol):
    """Shows steps as they come."""

    def section(self, title: str) -> None:
        """Begin a group of steps."""
        ...

    @contextmanager
    def running(self, title: str) -> Iterator[None]:
        """Show that a step is under way."""
        ...

    def show(self, result: Result) -> None:
        """Show a step that is done."""
        ...

    def say(self, text: str) -> None:
        """Show a line of its own."""
        ...


class Silent:
    """For --json: stdout holds the receipt and nothing else."""

    def section(self, title: str) -> None:
        """Show nothing."""

    @contextmanager
    def running(self, title: str) -> Iterator[None]:
        """Show nothing."""
        del title
        yield

    def show(self, result: Result) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Show nothing."""


class Plain(Silent):
    """One line a step: state, time, name, what was seen."""

    def show(self, result: Result) -> None:
        """Show the step."""
        state = _WORDS[result.state].ljust(10)
        time = f"{result.elapsed_ms / 1000:6.2f} s"
        sys.stdout.write(f"{state}{time}  {result.title}: {printable(result.seen)}\n")
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """Show the line."""
        sys.stdout.write(printable(text) + "\n")


class Terminal:
    """Aligned columns, colour, and a spinner on the step that is under way."""

    def __init__(self, console: Console) -> None:
        """Take the terminal."""
        self._console = console

    def section(self, title: str) -> None:
        """Begin a group of steps."""
        self._console.print(f"\n[bold]{title}[/bold]")

    @contextmanager
    def running(self, title: str) -> Iterator[None]:
        """Show the spinner."""
        with self._console.status(f" {title} …", spinner="dots"):
            yield

    def show(self, result: Result) -> None:
        """Show the step in its row."""
        from rich.table import Table
        from rich.text import Text

        mark, style = _MARKS[result.state]
        row = Table.grid(padding=(0, 1), expand=True)
        row.add_column(width=3, justify="right")
        row.add_column(width=_TITLE, no_wrap=True)
        row.add_column(ratio=1, overflow="fold")
        row.add_column(width=_TIME, justify="right", no_wrap=True)
        seen = Text(printable(result.seen), style="" if result.state == OK else style)
        row.add_row(
            Text(mark, style=style),
            Text(result.title),
            seen,
            Text(f"{result.elapsed_ms / 1000:.2f} s", style="dim"),
        )
        self._console.print(row)

    def say(self, text: str) -> None:
        """Show the line."""
        self._console.print(printable(text), highlight=False, markup=False)


def for_stdout(*, as_json: bool) -> Checklist:
    """Return the checklist for where stdout goes."""
    if as_json:
        return Silent()
    if not sys.stdout.isatty():
        return Plain()
    from rich.console import Console

    return Terminal(Console(highlight=False))
