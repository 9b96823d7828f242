"""`file:PATH`: one credential in one private file (decision 16)."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError, printable
from vault_svc.hazmat import hostfiles

_UNSAFE: Final = "credential_unsafe"


class FileCredentials:
    """Reads files that are ours or root's, mode 0600 or 0400, on a way others cannot change."""

    def __init__(
        self,
        *,
        max_bytes: int = 65_536,
        lock_timeout_seconds: float = 10.0,
        modes: Collection[int] = hostfiles.PRIVATE_MODES,
    ) -> None:
        """Take the size limit, how long to wait for another writer, and the modes accepted."""
        self._max_bytes = max_bytes
        self._modes = modes
        self._lock_timeout_seconds = lock_timeout_seconds

    def get(self, rest: str) -> SecretValue:
        """Return the file's text; raise `credential_missing` or `credential_unsafe`."""
        try:
            with _parent(rest) as (parent, name):
                content = hostfiles.read_at(
                    parent, name, _UNSAFE, max_bytes=self._max_bytes, modes=self._modes
                )
        except FileNotFoundError:
            raise _missing(rest) from None
        try:
            return SecretValue(content.decode())
        except UnicodeDecodeError:
            raise ColibriError(_UNSAFE, f"'{printable(rest)}' is not UTF-8 text") from None

    def put(self, rest: str, value: SecretValue) -> None:
        """Replace the file durably, mode 0600; raise `credential_unsafe`, `read_only`, `busy`."""
        content = value.reveal().encode()
        if len(content) > self._max_bytes:
            raise ColibriError(
                _UNSAFE, f"a credential of more than {self._max_bytes} bytes could not be read back"
            )
        try:
            with _parent(rest) as (parent, name):
                self._replace(parent, name, content, rest)
        except FileNotFoundError:
            raise ColibriError(
                "path_missing", f"the directory of '{printable(rest)}' does not exist"
            ) from None

    def _replace(self, parent: int, name: str, content: bytes, shown: str) -> None:
        try:
            with hostfiles.locked(parent, shown, self._lock_timeout_seconds):
                hostfiles.refuse_irregular(parent, name, _UNSAFE)
                hostfiles.sweep_at(parent, f".{name}.")
                hostfiles.replace_at(parent, name, content)
        except OSError as error:
            raise hostfiles.explain(error, _UNSAFE, shown) from error

    def exists(self, rest: str) -> bool:
        """Say whether something is there; raise `credential_unsafe` where its way is unsafe."""
        try:
            with _parent(rest) as (parent, name):
                os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def delete(self, rest: str) -> None:
        """Remove the file durably if it is there."""
        try:
            with _parent(rest) as (parent, name):
                hostfiles.remove_at(parent, name)
        except FileNotFoundError:
            return
        except OSError as error:
            raise hostfiles.explain(error, _UNSAFE, rest) from error


@contextmanager
def _parent(path: str) -> Iterator[tuple[int, str]]:
    parts = hostfiles.split(path, _UNSAFE)
    if not parts:
        raise ColibriError("usage", "'file:/' names no file")
    with hostfiles.directory("/" + "/".join(parts[:-1]), _UNSAFE) as parent:
        yield parent, parts[-1]


def _missing(path: str) -> ColibriError:
    return ColibriError(
        "credential_missing",
        f"there is no file '{printable(path)}'",
        hint="put it back from its backup; on a new host, colibri init",
    )
