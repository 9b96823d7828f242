"""Put a file before a reader and say in what it differs from what was written."""

from __future__ import annotations

from tests.readers.ask import READERS, ReaderError
from tests.readers.room import Room
from vault_svc.domain.secret import SecretSet, SecretValue


def secrets(values: dict[str, str]) -> SecretSet:
    return SecretSet("c", "1", {name: SecretValue(value) for name, value in values.items()})


def differences(room: Room, reader: str, data: bytes, expected: dict[str, str]) -> list[str]:
    """Return one line per variable that is lost, changed or new, or that the reader failed.

    What the reader has without any file (PWD, HOME, …) is asked for first and taken off.
    """
    names = tuple(expected)
    ask = READERS[reader].read
    own = ask(room, room.put("none.env", b"# nothing\n"), ())
    try:
        found = ask(room, room.put("some.env", data), names)
    except ReaderError as failure:
        return [f"failed: {failure}"]
    lines = []
    for name, value in expected.items():
        if name not in found:
            lines.append(f"{name}: lost, was {value[:80]!r}")
        elif found[name] != value.encode():
            lines.append(f"{name}: {value[:80]!r} became {found[name][:80]!r}")
    lines += [f"{name}: new" for name in found if name not in expected and name not in own]
    return lines
