r"""Read KEY=VALUE text that people wrote: `colibri secret import FILE` and secure notes.

Taken: `NAME=value` lines, optionally indented and after `export `; empty lines; lines whose first
character other than blanks is `#`; CR LF as LF. A value is

* in single quotes: literally what stands between them, which has no single quote;
* in double quotes: with the escapes \\ \" \$ \` \n and no other, no bare $ or backtick;
* bare: literally, if readers agree about it: no quote, backslash, dollar or backtick anywhere,
  no blank at an end, no # at the start or after a blank.

Everything else is unclear and refused with its line number. A message never shows the text of a
line: in a mistyped note what stands before `=` may be a piece of a key.
"""

from __future__ import annotations

import re
from typing import Final

from vault_svc.domain import names
from vault_svc.errors import ColibriError

MAX_IMPORT_BYTES: Final = 1024 * 1024

_ASSIGNMENT: Final = re.compile(r"[ \t]*(?:export[ \t]+)?([^=]*)=(.*)", re.DOTALL)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_SINGLE: Final = re.compile(r"'([^']*)'[ \t]*")
_DOUBLE: Final = re.compile(r'"((?:[^"\\$`]|\\["\\$`n])*+)"[ \t]*')
_ESCAPE: Final = re.compile(r"\\(.)")
_UNCLEAR: Final = re.compile(r"""['"\\$`]|^[ \t]|[ \t]$|(?:^|[ \t])#""")


def parse_import(data: bytes, *, allowed: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return the variables of text people wrote, in its order; data is at most 1 MiB of UTF-8.

    Raises `usage` (unclear text, with the line number), `secret_name_refused` (not a variable
    name, or one policy does not let through), `secret_ambiguous` (the same name twice).
    """
    found: dict[str, str] = {}
    seen: dict[str, int] = {}
    for number, line in enumerate(_lines(data), start=1):
        if not line.strip(" \t") or line.lstrip(" \t").startswith("#"):
            continue
        assignment = _ASSIGNMENT.fullmatch(line)
        if not assignment:
            raise _unclear(number, "it has no =", "one NAME=value per line, none may go on")
        name = _name(assignment[1], number, allowed)
        if name in seen:
            raise ColibriError(
                "secret_ambiguous",
                f"'{name}' stands in line {seen[name]} and in line {number}",
                hint="keep one of them",
            )
        found[name], seen[name] = _value(assignment[2], number), number
    return found


def _lines(data: bytes) -> list[str]:
    if len(data) > MAX_IMPORT_BYTES:
        raise ColibriError("usage", f"the text is longer than {MAX_IMPORT_BYTES} bytes")
    text = data.decode(errors="replace")
    if text.encode() != data:
        raise ColibriError("usage", "the text is not UTF-8")
    lines = text.replace("\r\n", "\n").split("\n")
    if text.startswith("\ufeff"):
        raise _unclear(1, "it begins with a byte order mark", "save the text without one")
    for number, line in enumerate(lines, start=1):
        if _CONTROL.search(line):
            raise _unclear(number, "it has a control character", "line ends are LF or CR LF")
    return lines


def _name(text: str, number: int, allowed: frozenset[str]) -> str:
    if not names.VARIABLE.fullmatch(text):
        raise ColibriError(
            "secret_name_refused",
            f"line {number}: what stands before = is not a variable name",
            hint="1 to 128 of A-Z, 0-9 and _, not beginning with a digit, no blank before =",
        )
    try:
        return names.variable(text, allowed=allowed)
    except ColibriError as error:
        raise ColibriError(error.code, f"line {number}: {error.message}", hint=error.hint) from None


def _value(text: str, number: int) -> str:
    if single := _SINGLE.fullmatch(text):
        return single[1]
    if double := _DOUBLE.fullmatch(text):
        return _ESCAPE.sub(lambda m: "\n" if m[1] == "n" else m[1], double[1])
    if _UNCLEAR.search(text):
        raise _unclear(
            number,
            "readers do not agree about its value (quotes, dollar, backslash, backtick, # or"
            " blanks at an end)",
            r"put it in single quotes, or in double quotes with \\ \" \$ \` and \n escaped,"
            " with nothing after the closing quote",
        )
    return text


def _unclear(number: int, why: str, hint: str) -> ColibriError:
    return ColibriError("usage", f"line {number}: {why}", hint=hint)
