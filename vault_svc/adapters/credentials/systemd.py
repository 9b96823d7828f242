"""`systemd:NAME`: a credential systemd decrypted for this service, read only (decision 16).

systemd.exec(5): `LoadCredentialEncrypted=`, `$CREDENTIALS_DIRECTORY`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final, NoReturn

from vault_svc.adapters.credentials.file import FileCredentials
from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError, printable

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)
# A unit with User= reads through an ACL, whose mask shows as the group's bit (acl(5)).
SYSTEMD_MODES: Final = frozenset({0o400, 0o440, 0o600})


def _given_directory() -> str | None:
    return os.environ.get("CREDENTIALS_DIRECTORY")


class SystemdCredentials:
    """Reads `$CREDENTIALS_DIRECTORY/NAME`; putting one there is the operator's act."""

    def __init__(
        self, files: FileCredentials, directory: Callable[[], str | None] = _given_directory
    ) -> None:
        """Take the reader of private files and where systemd says it put the credentials."""
        self._files = files
        self._directory = directory

    def get(self, rest: str) -> SecretValue:
        """Return the credential; raise `credential_missing`, `credential_unsafe` or `usage`."""
        directory = self._directory()
        if not directory:
            raise ColibriError(
                "credential_missing",
                f"systemd gave this process no credentials, so there is no '{_name(rest)}'",
                hint=_how(_name(rest)),
            )
        try:
            return self._files.get(f"{directory}/{_name(rest)}")
        except ColibriError as error:
            if error.code != "credential_missing":
                raise
            raise ColibriError(
                error.code, f"systemd gave no credential '{_name(rest)}'", hint=_how(_name(rest))
            ) from None

    def put(self, rest: str, value: SecretValue) -> NoReturn:
        """Raise `usage`, whose hint says how to put it there."""
        del value
        raise ColibriError(
            "usage", f"systemd:{_name(rest)} can only be read", hint=_how(_name(rest))
        )

    def exists(self, rest: str) -> bool:
        """Say whether systemd gave it to this process."""
        directory = self._directory()
        return bool(directory) and self._files.exists(f"{directory}/{_name(rest)}")

    def delete(self, rest: str) -> NoReturn:
        """Raise `usage`: it ends with the line in the unit."""
        raise ColibriError(
            "usage",
            f"systemd:{_name(rest)} can only be read",
            hint="take its LoadCredentialEncrypted= line out of the unit and delete the file",
        )


def _name(rest: str) -> str:
    if not _NAME.fullmatch(rest):
        raise ColibriError("usage", f"'systemd:{printable(rest[:128])}' names no credential")
    return rest


def _how(name: str) -> str:
    stored = f"/etc/credstore.encrypted/{name}"
    return (
        f"systemd-creds encrypt --name={name} - {stored}"
        f" and in the unit LoadCredentialEncrypted={name}:{stored}"
    )
