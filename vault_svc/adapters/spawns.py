"""Records of passing jails: a file each, locked by its writer as long as that lives."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from vault_svc.errors import ColibriError
from vault_svc.hazmat import hostfiles
from vault_svc.hazmat.filelock import opened_and_locked
from vault_svc.ports.spawning import Held, Passing

_UNSAFE: Final = "unsafe_base"
_SUFFIX: Final = ".spawn"
_MAX_BYTES: Final = 4096


class _Record:
    def __init__(self, directory: int, name: str, what: Passing) -> None:
        self._directory = directory
        self._name = name
        self.what = what

    def done(self) -> None:
        hostfiles.remove_at(self._directory, self._name)


class FileSpawnRecords:
    """SpawnRecords in a directory of their own."""

    def __init__(self, path: str, *, lock_timeout_seconds: float) -> None:
        """Take the directory, made when first needed, and how long to wait for another colibri."""
        self._path = path
        self._timeout_seconds = lock_timeout_seconds

    @contextmanager
    def add(self, what: Passing) -> Iterator[Held]:
        """Write a record durably and hold it; it stays after the block unless it is done."""
        hostfiles.make_directory(self._path, _UNSAFE)
        name = f"{secrets.token_hex(8)}{_SUFFIX}"
        with hostfiles.directory(self._path, _UNSAFE) as parent:
            # Under the directory's lock: nobody finds it before it is locked, or half.
            with hostfiles.locked(parent, "the spawn records", self._timeout_seconds):
                hostfiles.replace_at(parent, name, _encoded(what))
                fd = opened_and_locked(parent, name)
            if fd is None:
                raise ColibriError("busy", "a new spawn record is held by another process")
            try:
                yield _Record(parent, name, what)
            finally:
                os.close(fd)

    def names(self, jail: str) -> bool:
        """Say whether a record is of a jail of this name, whoever holds it."""
        try:
            with (
                hostfiles.directory(self._path, _UNSAFE) as parent,
                hostfiles.locked(parent, "the spawn records", self._timeout_seconds),
            ):
                return any(_decoded(parent, name).jail == jail for name in _names(parent))
        except FileNotFoundError:
            return False

    def abandoned(self) -> Iterator[Held]:
        """Yield the records whose writers are gone, each held while it is looked at."""
        try:
            found = hostfiles.directory(self._path, _UNSAFE)
            with found as parent:
                yield from self._abandoned_in(parent)
        except FileNotFoundError:
            return

    def _abandoned_in(self, parent: int) -> Iterator[Held]:
        held: list[tuple[str, int]] = []
        with hostfiles.locked(parent, "the spawn records", self._timeout_seconds):
            hostfiles.sweep_at(parent)
            held += [
                (name, fd)
                for name in _names(parent)
                if (fd := opened_and_locked(parent, name)) is not None
            ]
        try:
            for name, _ in held:
                yield _Record(parent, name, _decoded(parent, name))
        finally:
            for _, fd in held:
                os.close(fd)


def _names(parent: int) -> list[str]:
    return [name for name in sorted(os.listdir(parent)) if name.endswith(_SUFFIX)]


def _encoded(what: Passing) -> bytes:
    whole = {"tenant_id": what.tenant_id, "engine": what.engine, "jail": what.jail}
    return json.dumps(whole).encode() + b"\n"


def _decoded(parent: int, name: str) -> Passing:
    found = hostfiles.read_at(parent, name, "tampered", max_bytes=_MAX_BYTES)
    try:
        whole = json.loads(found)
        return Passing(str(whole["tenant_id"]), str(whole["engine"]), str(whole["jail"]))
    except (ValueError, TypeError, KeyError):
        raise ColibriError(
            "tampered", f"the spawn record '{name}' cannot be read", hint="look at it, remove it"
        ) from None
