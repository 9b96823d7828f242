"""What each profile can carry and how it writes it: the measured rules, one function each.

The rules were measured against 71 readers (python-dotenv 1.2.4, node dotenv 16 and 18, bash,
dash, systemd 252 and 262, docker 28, podman 4 and 5, compose 2.40, ...). Nothing is trimmed, cut
or quoted to make it fit: a value a rule excludes is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MAX_UNIVERSAL_VALUE_BYTES: Final = 32 * 1024
MAX_RAW_LINE_BYTES: Final = 63 * 1024
"""Line scanners of docker, podman and kubectl end at 64 KiB; kubectl drops the line silently."""
MAX_ASSIGNMENT_BYTES: Final = 131_000
"""`KEY=value` in an environment; Linux's exec takes 131 072 with the NUL (MAX_ARG_STRLEN)."""

READ_BY_SH: Final = ("universal", "dotenv", "shell")
"""Profiles whose readers include every POSIX shell."""

_BARE: Final = re.compile(r"(?:[A-Za-z0-9%+,./:@_-][A-Za-z0-9%+,./:@_=-]*)?")
_PRINTABLE: Final = re.compile(r"[\t\x20-\x7e]*")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_SPOILS_DOUBLE: Final = re.compile(r'["$\\`]')


class Rule(StrEnum):
    """Why a profile cannot carry a value: words about the rule, never about the value's text."""

    UNICODE = "it is not valid Unicode text"
    NUL = "it has a NUL character"
    CR = "it has a carriage return"
    LINES = "it has more than one line"
    ASCII = "it has characters outside printable ASCII"
    BARE = "only A-Z a-z 0-9 % + , . / : @ _ - and, not first, = can be written without quotes"
    COLON_EQUALS = "a colon before an equals sign is read as an operator by zsh"
    BRACE = "a dollar sign before a brace is expanded even inside single quotes"
    BACKSLASH = "a backslash doubled or at the end is lost inside single quotes"
    MIXED = "a single quote together with a double quote, dollar, backslash or backtick"
    BACKTICK = "a backtick together with a single quote or a backslash at the end"
    UNIVERSAL_SIZE = f"the value is longer than {MAX_UNIVERSAL_VALUE_BYTES} bytes"
    RAW_SIZE = f"name and value make a line longer than {MAX_RAW_LINE_BYTES} bytes"
    SIZE = f"name and value are longer than {MAX_ASSIGNMENT_BYTES} bytes"


@dataclass(frozen=True, slots=True)
class Profile:
    """One way to write the file.

    header: the constant first line. broken: (name, value) to the rule that excludes it, or None.
    write: a value no rule excludes to what stands after `=`.
    """

    header: str
    broken: Callable[[str, str], Rule | None]
    write: Callable[[str], str]


def is_bare(value: str) -> bool:
    """Return whether every measured reader takes value as it stands, without quotes (rule U)."""
    return bool(_BARE.fullmatch(value)) and ":=" not in value


def _broken_universal(name: str, value: str) -> Rule | None:
    if rule := _broken_anywhere(name, value) or _broken_printable(value):
        return rule
    if not _BARE.fullmatch(value):
        return Rule.BARE
    if ":=" in value:
        return Rule.COLON_EQUALS
    return Rule.UNIVERSAL_SIZE if len(value) > MAX_UNIVERSAL_VALUE_BYTES else None


def _broken_dotenv(name: str, value: str) -> Rule | None:
    if rule := _broken_anywhere(name, value) or _broken_printable(value):
        return rule
    if "${" in value:
        return Rule.BRACE
    if "'" in value:
        return Rule.MIXED if _SPOILS_DOUBLE.search(value) else None
    return Rule.BACKSLASH if "\\\\" in value or value.endswith("\\") else None


def _broken_compose(name: str, value: str) -> Rule | None:
    if rule := _broken_anywhere(name, value):
        return rule
    if "\r" in value:
        return Rule.CR
    needs_double = "'" in value or value.endswith("\\")
    return Rule.BACKTICK if needs_double and "`" in value else None


def _broken_raw(name: str, value: str) -> Rule | None:
    if rule := _broken_anywhere(name, value):
        return rule
    if "\n" in value:
        return Rule.LINES
    if "\r" in value:
        return Rule.CR
    size = len(name) + 1 + len(value.encode())
    return Rule.RAW_SIZE if size > MAX_RAW_LINE_BYTES else None


def _broken_anywhere(name: str, value: str) -> Rule | None:
    # Not by catching UnicodeEncodeError: that error carries the whole value.
    if _SURROGATE.search(value):
        return Rule.UNICODE
    if "\0" in value:
        return Rule.NUL
    size = len(name) + 1 + len(value.encode())
    return Rule.SIZE if size > MAX_ASSIGNMENT_BYTES else None


def _broken_printable(value: str) -> Rule | None:
    if _PRINTABLE.fullmatch(value):
        return None
    if "\n" in value:
        return Rule.LINES
    return Rule.CR if "\r" in value else Rule.ASCII


def _as_it_is(value: str) -> str:
    return value


def _single(value: str) -> str:
    return f"'{value}'"


def _shell(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


def _double_escaped(value: str) -> str:
    return '"' + _SPOILS_DOUBLE.sub(r"\\\g<0>", value) + '"'


def _dotenv(value: str) -> str:
    if is_bare(value):
        return value
    return f'"{value}"' if "'" in value else _single(value)


def _compose(value: str) -> str:
    if "'" in value or value.endswith("\\"):
        return _double_escaped(value)
    return _single(value)


def _header(name: str, note: str) -> str:
    return f"# Written by colibri, profile {name}{note}. Changes made here are overwritten."


PROFILES: Final[dict[str, Profile]] = {
    "universal": Profile(_header("universal", ""), _broken_universal, _as_it_is),
    "dotenv": Profile(_header("dotenv", ", not for docker env-file"), _broken_dotenv, _dotenv),
    "shell": Profile(_header("shell", ", only for shells"), _broken_anywhere, _shell),
    "systemd": Profile(_header("systemd", ""), _broken_anywhere, _double_escaped),
    "compose": Profile(_header("compose", ""), _broken_compose, _compose),
    "docker-raw": Profile(_header("docker-raw", ", not for shells"), _broken_raw, _as_it_is),
}
"""Name to profile; `universal` is the default and the first to try."""
