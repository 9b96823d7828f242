"""How colibri speaks.

Results go to stdout, everything else to stderr. An error is one line. With --json stdout holds
exactly one document. Colour and progress only on a terminal. No message holds a value.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from vault_svc.errors import ColibriError, printable

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_GAP: Final = 3
_PAIR: Final = 2
_LAST: Final = 24
"""The least room for a table's last column: below it a row is shown as a block of its own."""


class ReportedError(ColibriError):
    """An error whose document is already on stdout: only its line is still to be said."""


def document(command: str, body: Mapping[str, Any]) -> None:
    """Print one JSON document with its schema name."""
    whole = {"schema": f"colibri.{command}/1", **body}
    _write(json.dumps(whole, indent=2, sort_keys=False) + "\n")


def listing(command: str, items: Iterable[Mapping[str, Any]], following: str | None = None) -> None:
    """Print a list document, an item a line; following is the cursor of the next page."""
    encode = json.JSONEncoder().encode  # without an indent it is compiled code
    lines = ",\n".join(f"    {encode(item)}" for item in items)
    shown = f"[\n{lines}\n  ]" if lines else "[]"
    schema, cursor = encode(f"colibri.{command}/1"), encode(following)
    _write(f'{{\n  "schema": {schema},\n  "items": {shown},\n  "next": {cursor}\n}}\n')


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Hold the garbage collector back: a long list has no cycles, and looking takes a tenth."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def error_body(error: ColibriError) -> dict[str, Any]:
    """Return the error object of contracts.md."""
    return {
        "code": error.code,
        "message": printable(error.message),
        "hint": printable(error.hint),
        "tenant": error.tenant or None,
        "retryable": error.retryable,
    }


def failure(error: ColibriError, *, as_json: bool) -> None:
    """Say what went wrong: one line on stderr, and the document on stdout if asked for."""
    if as_json and not isinstance(error, ReportedError):
        try:
            document("error", {"error": error_body(error)})
        except ReportedError as unwritable:
            say(unwritable.line())
    say(error.line())


def say(text: str) -> None:
    """Print a line for people, on stderr; one that can't be said changes no status."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"colibri: {text}\n")
        sys.stderr.flush()


def count(number: int, thing: str) -> str:
    """Return `1 key`, `2 keys`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Print rows: by Rich on a terminal, as plain aligned columns elsewhere.

    On a terminal too narrow for that, each row becomes a block: no column is cut to shreds.
    """
    if not rows:
        say(empty)
        return
    cleaned = [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _on_terminal(columns, cleaned)
    else:
        _plain_table(columns, cleaned)


def text(whole: str) -> None:
    """Print a file's text as it is, but for what a terminal could act on."""
    _write("".join(f"{printable(line)}\n" for line in whole.splitlines()))


def gap() -> None:
    """Part two tables; Rich's have an empty line around them already."""
    if not sys.stdout.isatty():
        _write("\n")


def open_streams() -> None:
    """Put /dev/null where a standard stream is closed.

    Else the next file opened is descriptor 0, 1 or 2, and whatever speaks there writes into it.
    stdin stays None for those who ask for it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def close_streams() -> None:
    """Flush; what can't be written now is dropped, so that the interpreter's end adds nothing."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), stream.fileno())


def passed_on(stdout: bytes, stderr: bytes) -> None:
    """Pass on the output of a command that ran in a jail, byte for byte."""
    sys.stderr.buffer.write(stderr)
    sys.stderr.flush()
    _write_bytes(stdout)


def _write_bytes(text: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.buffer.write(text)
        sys.stdout.flush()


def _write(text: str) -> None:
    """Write to stdout and flush; a reader that has gone (`| head`) is no error."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stdout.fileno())
    except OSError as error:
        raise unwritable(error) from None


def unwritable(error: OSError) -> ReportedError:
    """Return the error for a stdout that takes nothing, and write there no more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stdout.fileno())
    code = "no_space" if error.errno in _FULL else "usage"
    words = f"stdout cannot be written: {os.strerror(error.errno or 0)}"
    hint = "what was asked for is done; look where stdout leads"
    return ReportedError(code, words, hint=hint)


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(line[i]) for line in (columns, *rows)) for i in range(len(columns))]


def _on_terminal(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of the columns that say something, or blocks where they have no room."""
    told = [i for i in range(len(columns)) if i == 0 or any(row[i] != "-" for row in rows)]
    columns, rows = [columns[i] for i in told], [[row[i] for i in told] for row in rows]
    # Lines break at spaces only, but for the last column, which may hold paths and digests.
    *words, last = _widths(columns, [[_longest(cell) for cell in row] for row in rows])
    room = shutil.get_terminal_size().columns - 2 - sum(words) - _GAP * len(words)
    if room >= min(last, _LAST):
        _rich_table(columns, rows)
    else:  # a name and its value are a block already
        (_plain_table if len(columns) == _PAIR else _blocks)(columns, rows)


def _longest(cell: str) -> str:
    return max(cell.split(), key=len, default="")


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns[:-1]):
        made.add_column(column, no_wrap=not any(" " in row[i] for row in rows))
    made.add_column(columns[-1], overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console().print(made)


def _blocks(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.text import Text

    console, width = Console(), max(map(len, columns))
    for row in rows:
        for column, cell in zip(columns, row, strict=True):
            if cell != "-":
                name = Text(f"{column.ljust(width)}  ", style="bold")
                console.print(name + Text(cell, style=_STYLES.get(cell, "")), soft_wrap=True)
        console.print()


_STYLES = {
    "ok": "green",
    "active": "green",
    "delivered": "green",
    "drift": "yellow",
    "suspended": "yellow",
    "warn": "yellow",
    "failed": "bold red",
    "fail": "bold red",
}


def _plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = _widths(columns, rows)
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (columns, *rows)
    )
    _write("\n".join(lines) + "\n")
