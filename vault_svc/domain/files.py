"""One file per secret: the set as one run of bytes to digest, and how a directory differs from it.

A value is its file's whole content, nothing added: no quoting, no final newline. What stands in
a directory beside the named files is the tenant's and not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from vault_svc.domain import names
from vault_svc.domain.dotenv_profiles import Rule
from vault_svc.domain.receipt import Found, Owner, Receipt
from vault_svc.domain.secret import SecretSet
from vault_svc.errors import ColibriError

# First bytes of what is digested: neither an `.env` nor the other one can begin so.
_SET: Final = b"colibri files 1\n"
_ONE: Final = b"colibri file 1\n"
_OTHERS_WRITE: Final = 0o022
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_MAX_NAMED: Final = 8


def render(values: SecretSet, *, allowed: frozenset[str] = frozenset()) -> bytes:
    """Return all files packed; the same values give the same bytes.

    Raises `secret_name_refused`, and `secret_value_unrepresentable` for NUL, which no program
    takes in a credential, and for what is no Unicode text; by name, never by value.
    """
    plain = {
        names.variable(name, allowed=allowed): values.values[name].reveal()
        for name in values.names()
    }
    refused = [f"{name}: {rule}" for name, value in plain.items() if (rule := _broken(value))]
    if refused:
        more = f"; and {len(refused) - _MAX_NAMED} more" if len(refused) > _MAX_NAMED else ""
        raise ColibriError(
            "secret_value_unrepresentable",
            "a file cannot carry " + "; ".join(refused[:_MAX_NAMED]) + more,
            hint="store it as base64",
        )
    return pack({name: value.encode() for name, value in plain.items()})


def pack(contents: Mapping[str, bytes]) -> bytes:
    """Return the files of a directory as one run of bytes, in the order of their names."""
    parts = [_SET]
    for name in sorted(contents):
        parts += (f"{name} {len(contents[name])}\n".encode(), contents[name], b"\n")
    return b"".join(parts)


def unpack(data: bytes) -> dict[str, bytes]:
    """Return what `pack` packed; raise `internal` for anything else."""
    contents: dict[str, bytes] = {}
    at = len(_SET)
    while at < len(data):
        line = data[at : data.find(b"\n", at)]
        name, _, size = line.decode("ascii", "replace").partition(" ")
        begin = at + len(line) + 1
        at = begin + (int(size) if size.isdecimal() else len(data))
        contents[name] = data[begin:at]
        at += 1
    if pack(contents) != data:
        raise ColibriError("internal", "a set of files does not read as it was written")
    return contents


def parse_own(data: bytes) -> dict[str, str]:
    """Return the variables of packed files that `render` wrote."""
    return {name: content.decode() for name, content in unpack(data).items()}


def part(name: str, content: bytes) -> bytes:
    """Return what one file's own digest is of: equal values under two names differ."""
    return _ONE + name.encode() + b"\n" + content


def drift(found: Found, content: bytes, mode: int, owner: Owner) -> tuple[str, ...]:
    """Return in words how a directory differs from packed files; `NAME: how` for each file."""
    wanted = unpack(content)

    def same(name: str, there: Found) -> bool:
        return there.content == wanted[name]

    return _drift(found, sorted(wanted), same, mode, owner)


def recorded_drift(
    found: Found, receipt: Receipt, same: Callable[[str, Found], bool]
) -> tuple[str, ...]:
    """Return how a directory differs from a receipt; same compares a file with its own digest."""
    owner = Owner(receipt.uid, receipt.gid)
    return _drift(found, receipt.keys, same, receipt.mode, owner)


def _drift(
    found: Found,
    wanted: Sequence[str],
    same: Callable[[str, Found], bool],
    mode: int,
    owner: Owner,
) -> tuple[str, ...]:
    if found.kind == "missing":
        return ("missing",)
    if found.kind != "directory":
        return (f"replaced by {found.kind}",)
    return tuple(_words(found, wanted, same, mode, owner))


def _words(
    found: Found,
    wanted: Sequence[str],
    same: Callable[[str, Found], bool],
    mode: int,
    owner: Owner,
) -> Iterator[str]:
    files = found.files or {}
    if found.mode & _OTHERS_WRITE:
        yield "directory: mode"
    if found.uid not in {0, owner.uid}:
        yield "directory: owner"
    for name in wanted:
        there = files.get(name, Found("missing"))
        is_file = there.kind == "file"
        for word in there.differs(mode, owner, same_bytes=is_file and same(name, there)):
            yield f"{name}: {word}"
    for name in sorted(files.keys() - set(wanted)):
        yield f"{name}: unexpected {files[name].kind}"


def _broken(value: str) -> Rule | None:
    if _SURROGATE.search(value):
        return Rule.UNICODE
    return Rule.NUL if "\0" in value else None
