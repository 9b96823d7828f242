"""Secrets come in by a no-echo prompt, by stdin or from a file; never as an argument."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vault_svc.errors import ColibriError

if TYPE_CHECKING:
    from vault_svc.domain.secret import SecretValue

MAX_INPUT_BYTES = 16 * 1024 * 1024


def at_terminal() -> bool:
    """Say whether somebody can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


def value_from(path: str | None, what: str) -> SecretValue:
    """Return a value from a file, or ask for it; one final line feed is taken off."""
    if path is None:
        return secret_value(what)
    return _value(_decoded(file_bytes(path), what).removesuffix("\n"))


def secret_value(what: str) -> SecretValue:
    """Ask for one value without echo, or take all of stdin less one final line feed."""
    if sys.stdin is None:
        raise ColibriError("usage", f"there is no stdin to read {what} from", hint="open stdin")
    if sys.stdin.isatty():
        return _value(getpass.getpass(f"{what}: "))
    return _value(_decoded(_bounded(sys.stdin.fileno()), what).removesuffix("\n"))


def secret_values(names: Sequence[str]) -> list[SecretValue]:
    """Ask for several values without echo, or take one per line of stdin, in this order.

    Nothing but the line feed is taken off a line: a password may end in a blank.
    """
    if sys.stdin is None:
        raise ColibriError("usage", "there is no stdin to read from", hint="open stdin")
    if sys.stdin.isatty():
        return [_value(getpass.getpass(f"{name}: ")) for name in names]
    text = _decoded(_bounded(sys.stdin.fileno()), "the input").removesuffix("\n")
    lines = text.split("\n")
    if len(lines) != len(names):
        raise ColibriError(
            "usage",
            f"stdin has {len(lines)} lines, {len(names)} are wanted",
            hint="one per line: " + ", ".join(names),
        )
    return [_value(line) for line in lines]


def file_bytes(path: str) -> bytes:
    """Return a file's bytes, `-` for stdin; raise `usage` when it is no readable regular file."""
    if path == "-":
        if sys.stdin is None:
            raise ColibriError("usage", "there is no stdin to read from", hint="open stdin")
        return _bounded(sys.stdin.fileno())
    # NAME=value typed where a file belongs: what follows the sign may be the secret.
    name, sign, _ = path.partition("=")
    shown = name + ("=…" if sign else "")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no path"
        raise ColibriError(
            "usage", f"cannot read '{shown}': {why}", hint="check the path"
        ) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ColibriError("usage", f"'{shown}' is not a regular file", hint="check the path")
        return _bounded(descriptor)
    finally:
        os.close(descriptor)


def _value(text: str) -> SecretValue:
    from vault_svc.domain.secret import SecretValue  # most commands ask for none

    return SecretValue(text)


def _bounded(descriptor: int) -> bytes:
    parts, size = [], 0
    while part := os.read(descriptor, 1 << 16):
        size += len(part)
        if size > MAX_INPUT_BYTES:
            raise ColibriError(
                "usage",
                "the input is larger than 16 MiB",
                hint="check what was given: no value may be that large",
            )
        parts.append(part)
    return b"".join(parts)


def _decoded(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ColibriError(
            "secret_value_unrepresentable",
            f"{what} is not UTF-8 text",
            hint="encode it, for example as base64, under a name that says so",
        ) from None
