r"""The strict reader of our own files, written from the grammar and not from the renderer.

file       = comment LF *( name "=" value LF )        names strictly ascending
comment    = "#" *( A-Z a-z 0-9 space , . : / _ - )   exactly one, first line, column 0
universal  = [ u *( u / "=" ) ]                       u = A-Z a-z 0-9 % + , . / : @ _ -
dotenv     = universal / "'" *s "'" / DQUOTE *d DQUOTE
             s = TAB, printable ASCII without ', no doubled or final backslash, no "${"
             d = TAB, printable ASCII without DQUOTE $ backslash backtick
shell      = "'" *( any but ' and NUL / "'\''" ) "'"
systemd    = DQUOTE *( any but DQUOTE $ backslash backtick NUL / backslash one of them ) DQUOTE
compose    = "'" *( any but ' NUL CR ), not ending in a backslash, "'"
           / systemd without CR, and without an escaped backtick
docker-raw = *( any but LF CR NUL )
"""

from __future__ import annotations

import re
from typing import Final

from vault_svc.errors import ColibriError

_COMMENT: Final = re.compile(r"#[A-Za-z0-9 ,.:/_-]*\n")
_NAME: Final = re.compile(r"([A-Z_][A-Z0-9_]{0,127})=")
_ESCAPED: Final = re.compile(r'\\(["$\\`])')

_UNIVERSAL = r"(?P<bare>(?:(?!:=)[A-Za-z0-9%+,./:@_-](?:(?!:=)[A-Za-z0-9%+,./:@_=-])*+)?)"
_DOTENV_SINGLE = r"'(?P<single>(?:(?!\\\\|\\'|\$\{)[\t\x20-\x26\x28-\x7e])*+)'"
_DOTENV_DOUBLE = r'"(?P<double>[\t\x20\x21\x23\x25-\x5b\x5d-\x5f\x61-\x7e]*+)"'
_SHELL = r"'(?P<shell>(?:[^'\0]|'\\'')*+)'"
_SYSTEMD = r'"(?P<escaped>(?:[^"$\\`\0]|\\["$\\`])*+)"'
_COMPOSE_SINGLE = r"'(?P<single>(?:(?!\\')[^'\0\r])*+)'"
_COMPOSE_DOUBLE = r'"(?P<escaped>(?:[^"$\\`\0\r]|\\["$\\])*+)"'

_VALUES: Final[dict[str, re.Pattern[str]]] = {
    "universal": re.compile(_UNIVERSAL + r"\n"),
    "dotenv": re.compile(f"(?:{_UNIVERSAL}|{_DOTENV_SINGLE}|{_DOTENV_DOUBLE})\n"),
    "shell": re.compile(_SHELL + r"\n"),
    "systemd": re.compile(_SYSTEMD + r"\n"),
    "compose": re.compile(f"(?:{_COMPOSE_SINGLE}|{_COMPOSE_DOUBLE})\n"),
    "docker-raw": re.compile(r"(?P<bare>[^\n\r\0]*+)\n"),
}


def parse(data: bytes, profile: str) -> dict[str, str]:
    """Return the variables of a file `render` wrote in profile, or refuse it.

    Raises `internal` with the line number for anything else the grammar does not have (foreign
    comments, blank lines, other quoting, unsorted names), and never shows a value.
    """
    text = _decoded(data)
    comment = _COMMENT.match(text)
    if not comment:
        raise _refused(text, 0, "no header")
    found: dict[str, str] = {}
    last, at = "", comment.end()
    while at < len(text):
        name = _NAME.match(text, at)
        if not name or name[1] <= last:
            raise _refused(text, at, "no assignment, or out of order")
        value = _VALUES[profile].match(text, name.end())
        if not value:
            raise _refused(text, at, f"not a value of profile {profile}")
        last, at = name[1], value.end()
        found[last] = _plain(value)
    return found


def _plain(value: re.Match[str]) -> str:
    parts = value.groupdict()
    if (shell := parts.get("shell")) is not None:
        return shell.replace("'\\''", "'")
    if (escaped := parts.get("escaped")) is not None:
        return _ESCAPED.sub(r"\1", escaped)
    return next(text for text in parts.values() if text is not None)


def _decoded(data: bytes) -> str:
    text = data.decode(errors="replace")
    if text.encode() != data:
        # Compared rather than caught: UnicodeDecodeError carries the whole file.
        raise ColibriError("internal", "the file is not UTF-8")
    if not text.endswith("\n"):
        raise _refused(text, len(text), "no final line feed")
    return text


def _refused(text: str, at: int, why: str) -> ColibriError:
    return ColibriError("internal", f"line {text.count(chr(10), 0, at) + 1}: {why}")
