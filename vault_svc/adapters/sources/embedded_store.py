"""The embedded store's directory: age files by name, one writer at a time, one identity."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final

from vault_svc.adapters.sources import age_files, documents
from vault_svc.adapters.sources.age_files import BrokenFileError, Identities, WrongIdentityError
from vault_svc.adapters.sources.documents import Document, MalformedError
from vault_svc.adapters.sources.limits import misfit
from vault_svc.domain import names
from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError, printable
from vault_svc.hazmat import hostfiles
from vault_svc.ports.credential_store import CredentialStore

_SUFFIX: Final = ".age"
_UNSAFE: Final = "credential_unsafe"
_AGE_OVERHEAD: Final = 65_536  # header, and 16 bytes for each 64 KiB chunk


@dataclass(frozen=True, slots=True)
class Limits:
    """What a collection may grow to, in bytes of UTF-8 and in variables."""

    max_value_bytes: int = 131_000  # Linux hands programs no longer string (execve(2))
    max_secrets_per_collection: int = 5_000
    max_collection_bytes: int = 8 << 20


class EmbeddedStore:
    """Loads and stores documents; what they mean is the source's business.

    Readers take no lock, because files are only ever replaced whole; writers hold the
    directory's lock and read the identity again under it, so none seals to one just dropped.
    Methods that take `parent` want the descriptor that `reading` or `writing` gave.
    """

    def __init__(
        self,
        directory: str,
        credentials: CredentialStore,
        identity_uri: str,
        limits: Limits,
        lock_timeout_seconds: float,
    ) -> None:
        """Take the directory (0700), where its identity is kept, and the limits."""
        self._directory = directory
        self._credentials = credentials
        self._identity_uri = identity_uri
        self._limits = limits
        self._lock_timeout_seconds = lock_timeout_seconds
        self._identities: Identities | None = None
        self._may_reload = True

    @contextmanager
    def reading(self) -> Iterator[int]:
        """Hold the directory open; raise `collection_not_found` or `credential_unsafe`."""
        self._may_reload = True
        parent = self._open()
        try:
            yield parent
        finally:
            os.close(parent)

    @contextmanager
    def writing(self) -> Iterator[int]:
        """Hold the directory open and locked; raise `busy`, or as reading and the identity."""
        with self.reading() as parent, self._locked(parent):
            hostfiles.sweep_at(parent)
            self._reload()
            yield parent

    def first_identity(self) -> SecretValue:
        """Return a new identity unless collections are there that it could not open."""
        kept = []
        if self.is_there():
            with self.reading() as parent:
                kept = files(parent)
        if kept:
            raise ColibriError(
                "credential_missing",
                f"{self._identity_uri} is gone and {len(kept)} collections need it",
                hint="put the identity back from its backup; see the runbook age-identity-lost.md",
            )
        return age_files.fresh().text()

    def is_there(self) -> bool:
        """Say whether the directory exists; raise `credential_unsafe` where its way is unsafe."""
        try:
            os.close(hostfiles.open_directory(self._directory, _UNSAFE))
        except FileNotFoundError:
            return False
        return True

    def load(self, parent: int, name: str) -> Document:
        """Return the collection; raise `collection_not_found` or `source_incomplete`."""
        try:
            document = documents.decode(self._plaintext(parent, name + _SUFFIX))
        except MalformedError as error:
            raise _incomplete(name + _SUFFIX, str(error)) from None
        for variable, secret in document.secrets.items():
            if why := misfit(secret.value, self._limits.max_value_bytes):
                raise _incomplete(name + _SUFFIX, f"'{printable(variable[:128])}' {why}")
        return document

    def store(self, parent: int, name: str, document: Document) -> None:
        """Replace the collection durably; raise over a limit, or for a disk that refuses."""
        if len(document.secrets) > self._limits.max_secrets_per_collection:
            raise ColibriError(
                "usage",
                f"collection '{name}' would hold {len(document.secrets)} variables,"
                f" {self._limits.max_secrets_per_collection} fit",
                hint="raise the setting max_secrets_per_collection",
            )
        plaintext = document.encode()
        if len(plaintext) > self._limits.max_collection_bytes:
            raise ColibriError(
                "secret_value_unrepresentable",
                f"collection '{name}' would be {len(plaintext)} bytes long,"
                f" {self._limits.max_collection_bytes} fit",
                hint="raise the setting max_collection_bytes",
            )
        self._replace(parent, name + _SUFFIX, self.identities.seal(plaintext))

    def seal(self, parent: int, name: str, plaintext: bytes) -> None:
        """Keep what is no collection, under a name that none can have."""
        self._replace(parent, name + _SUFFIX, self.identities.seal(plaintext))

    def unseal(self, parent: int, name: str) -> bytes:
        """Return what `seal` kept; raise `collection_not_found` or `source_incomplete`."""
        return self._plaintext(parent, name + _SUFFIX)

    def remove(self, name: str) -> bool:
        """Remove what `seal` kept, which takes no identity; say whether it was there."""
        with self.reading() as parent, self._locked(parent):
            return hostfiles.remove_at(parent, name + _SUFFIX)

    def check(self, variable: str, value: SecretValue) -> None:
        """Raise `secret_value_unrepresentable` for what no `.env` could carry."""
        if why := misfit(value, self._limits.max_value_bytes):
            raise ColibriError("secret_value_unrepresentable", f"the value of {variable} {why}")

    def rotate(self, parent: int) -> int:
        """Re-encrypt every file to a new identity (decision 15); return how many.

        The new identity is kept beside the old before the first file needs it, the old goes
        after the last file has left it: at every point in between each file can be opened.
        """
        both = self.identities.with_new()
        self._keep(both)
        every = files(parent)
        for file in every:
            self._replace(parent, file, both.seal(self._plaintext(parent, file)))
        self._keep(both.current_only())
        return len(every)

    @property
    def identities(self) -> Identities:
        """What opens and seals, read once; raise `credential_missing` or `credential_unsafe`."""
        return self._identities or self._reload()

    def _locked(self, parent: int) -> AbstractContextManager[None]:
        what = f"the embedded store '{self._directory}'"
        return hostfiles.locked(parent, what, self._lock_timeout_seconds)

    def _plaintext(self, parent: int, file: str) -> bytes:
        limit = self._limits.max_collection_bytes + _AGE_OVERHEAD
        try:
            blob = hostfiles.read_at(parent, file, "source_incomplete", max_bytes=limit)
            return self._opened(blob)
        except FileNotFoundError:
            name = printable(file.removesuffix(_SUFFIX))
            raise ColibriError("collection_not_found", f"no collection '{name}'") from None
        except WrongIdentityError:
            raise _incomplete(file, f"it is not encrypted to {self._identity_uri}") from None
        except BrokenFileError:
            raise _incomplete(file, "it is damaged or cut short") from None

    def _opened(self, blob: bytes) -> bytes:
        try:
            return self.identities.open(blob)
        except WrongIdentityError:
            # Another process may have rotated since we read the identity: look again, once.
            if not self._may_reload:
                raise
            return self._reload().open(blob)

    def _replace(self, parent: int, file: str, blob: bytes) -> None:
        try:
            hostfiles.replace_at(parent, file, blob)
        except OSError as error:
            raise hostfiles.explain(error, "source_incomplete", file) from error

    def _reload(self) -> Identities:
        self._may_reload = False
        text = self._credentials.get(self._identity_uri)
        self._identities = age_files.parse(text, self._identity_uri)
        return self._identities

    def _keep(self, identities: Identities) -> None:
        self._credentials.put(self._identity_uri, identities.text())
        self._identities = identities

    def _open(self) -> int:
        shown = printable(self._directory)
        try:
            parent = hostfiles.open_directory(self._directory, _UNSAFE)
        except FileNotFoundError:
            raise ColibriError(
                "collection_not_found", f"there is no embedded store '{shown}'", hint="colibri init"
            ) from None
        if os.fstat(parent).st_mode & 0o077:
            os.close(parent)
            raise ColibriError(
                _UNSAFE, f"others may look into '{shown}'", hint=f"chmod 0700 '{shown}'"
            )
        return parent


def files(parent: int) -> list[str]:
    """Return every age file, also one whose name is no collection's: rotation leaves none out."""
    return sorted(
        file for file in os.listdir(parent) if file.endswith(_SUFFIX) and not file.startswith(".")
    )


def collection_names(parent: int) -> list[str]:
    """Return the names of the collections there are, sorted."""
    stems = (file.removesuffix(_SUFFIX) for file in files(parent))
    return sorted(stem for stem in stems if is_name(stem))


def is_name(text: str) -> bool:
    """Say whether text can name a collection."""
    return names.TENANT_ID.fullmatch(text) is not None and "--" not in text


def exists(parent: int, name: str) -> bool:
    """Say whether there is a file for this collection."""
    try:
        os.stat(name + _SUFFIX, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _incomplete(file: str, why: str) -> ColibriError:
    return ColibriError(
        "source_incomplete",
        f"'{printable(file)}' cannot be read: {why}",
        hint="nothing was changed; restore the file or the identity, see the runbook"
        " source-incomplete.md",
    )
