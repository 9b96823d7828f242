"""The embedded source: each collection is one age file in a private directory, no server."""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from vault_svc.adapters.sources import age_files, documents
from vault_svc.adapters.sources.documents import Document, Secret
from vault_svc.adapters.sources.embedded_store import (
    EmbeddedStore,
    Limits,
    collection_names,
    exists,
    is_name,
)
from vault_svc.domain import names
from vault_svc.domain.secret import CollectionRef, SecretInfo, SecretSet, SecretValue
from vault_svc.errors import ColibriError, printable
from vault_svc.ports.clock import Clock
from vault_svc.ports.credential_store import CredentialStore
from vault_svc.ports.secret_source import Resolve, Resolved

__all__ = ["EmbeddedSource", "Limits", "fresh_identity"]


class EmbeddedSource:
    """SecretSource and SecretWriter over `<directory>/<collection>.age` (decision 21)."""

    name = "embedded"
    tells_unchanged = False  # the revision is inside the sealed file

    def __init__(
        self,
        directory: str,
        credentials: CredentialStore,
        identity_uri: str,
        clock: Clock,
        *,
        limits: Limits | None = None,
        allowed_variables: frozenset[str] = frozenset(),
        lock_timeout_seconds: float = 10.0,
    ) -> None:
        """Take the store's directory (0700), where its identity is kept, and the limits."""
        self.store = EmbeddedStore(
            directory, credentials, identity_uri, limits or Limits(), lock_timeout_seconds
        )
        self._clock = clock
        self._allowed = allowed_variables

    def first_identity(self) -> SecretValue:
        """Return a new identity for an empty store; raise `credential_missing` for another.

        Collections that are there need the identity that is gone: a new one would hide that.
        """
        return self.store.first_identity()

    # The read side

    def locate(self, name_or_id: str) -> CollectionRef:
        """Return the collection of this name, which opens one file, or id, which opens all."""
        with self.store.reading() as parent:
            if documents.UUID.fullmatch(name_or_id):
                return self._locate_id(parent, name_or_id)
            return CollectionRef(self._existing(parent, name_or_id).collection_id, name_or_id)

    def collections(self) -> tuple[CollectionRef, ...]:
        """Return every collection, sorted by name; raise `source_incomplete` for a broken one."""
        with self.store.reading() as parent:
            return tuple(
                CollectionRef(self.store.load(parent, name).collection_id, name)
                for name in collection_names(parent)
            )

    def resolve(self, refs: Sequence[CollectionRef]) -> Iterator[Resolved]:
        """Yield each ref with its SecretSet or its error: one file opened for each, no listing."""
        if not refs:
            return
        try:
            _ = self.store.identities
            opened = ExitStack()
            parent = opened.enter_context(self.store.reading())
        except ColibriError as error:
            yield from ((ref, error) for ref in refs)
            return
        with opened:
            for ref in refs:
                yield ref, self._resolve_one(parent, ref)

    def ahead(self) -> Resolve:
        """Return `resolve`: each process opens the files of its own part."""
        return self.resolve

    def end_access(self, ref: CollectionRef, *, for_good: bool) -> tuple[str, ...]:
        """Return nothing: the embedded store hands out no tokens or leases."""
        del ref, for_good
        return ()

    # The write side

    def create(self, collection: str) -> CollectionRef:
        """Make an empty collection at revision 0; raise `collection_taken`."""
        names.collection_name(collection)
        with self.store.writing() as parent:
            if exists(parent, collection):
                raise ColibriError("collection_taken", f"collection '{collection}' exists")
            document = _empty()
            self.store.store(parent, collection, document)
        return CollectionRef(document.collection_id, collection)

    def change(
        self, collection: str, updates: Mapping[str, SecretValue | None], *, create: bool = False
    ) -> tuple[CollectionRef, int]:
        """Set and unset variables in one atomic step; write nothing if nothing changes."""
        names.collection_name(collection)
        for name, value in updates.items():
            if value is not None:
                self.store.check(names.variable(name, allowed=self._allowed), value)
        with self.store.writing() as parent:
            is_new = create and not exists(parent, collection)
            old = _empty() if is_new else self._existing(parent, collection)
            new = self._changed(collection, old, updates)
            if is_new or new is not old:
                self.store.store(parent, collection, new)
        return CollectionRef(new.collection_id, collection), new.revision

    def infos(self, collection: str) -> tuple[SecretInfo, ...]:
        """Return name, length and time of each secret, sorted by name."""
        with self.store.reading() as parent:
            secrets = self._existing(parent, collection).secrets
        return tuple(
            SecretInfo(name, len(secret.value), secret.set_at)
            for name, secret in sorted(secrets.items())
        )

    def rotate_identity(self) -> int:
        """Re-encrypt every collection to a new identity; return how many; safe to repeat."""
        with self.store.writing() as parent:
            return self.store.rotate(parent)

    # One collection

    def _existing(self, parent: int, name: str) -> Document:
        if not is_name(name) or not exists(parent, name):
            raise _not_found(name, collection_names(parent))
        return self.store.load(parent, name)

    def _locate_id(self, parent: int, collection_id: str) -> CollectionRef:
        found: list[str] = []
        broken: ColibriError | None = None
        for name in collection_names(parent):
            try:
                if self.store.load(parent, name).collection_id == collection_id:
                    found.append(name)
            except ColibriError as error:
                broken = error
        if len(found) > 1:
            raise ColibriError(
                "collection_ambiguous",
                f"collections {' and '.join(found)} have one id",
                hint="one is a copy of the other's file: remove it",
            )
        if found:
            return CollectionRef(collection_id, found[0])
        # A file that can't be read may be the one that is looked for.
        raise broken or _not_found(collection_id, ())

    def _resolve_one(self, parent: int, ref: CollectionRef) -> SecretSet | ColibriError:
        try:
            if not is_name(ref.name):
                return _not_found(ref.name, ())
            document = self.store.load(parent, ref.name)
            for name in document.secrets:
                names.variable(name, allowed=self._allowed)
        except ColibriError as error:
            return error
        if document.collection_id != ref.collection_id:
            return ColibriError(
                "server_mismatch",
                f"collection '{ref.name}' is not the one that was registered: its id differs",
                hint="colibri update-tenant --collection, if the new one is meant",
            )
        values = {name: secret.value for name, secret in document.secrets.items()}
        return SecretSet(document.collection_id, str(document.revision), values)

    def _changed(
        self, collection: str, old: Document, updates: Mapping[str, SecretValue | None]
    ) -> Document:
        """Return old itself if updates change nothing, else the next revision."""
        secrets, now = dict(old.secrets), self._clock.now()
        for name, value in updates.items():
            if value is None:
                if secrets.pop(name, None) is None:
                    raise _no_secret(collection, name)
            elif name not in secrets or not secrets[name].value.same_as(value):
                secrets[name] = Secret(value, now)
        same = secrets.keys() == old.secrets.keys() and all(
            secrets[name] is old.secrets[name] for name in secrets
        )
        return old if same else replace(old, revision=old.revision + 1, secrets=secrets)


def fresh_identity() -> SecretValue:
    """Return a new identity as the text of an age identity file."""
    return age_files.fresh().text()


def _empty() -> Document:
    return Document(str(uuid.uuid4()), 0)


def _not_found(name: str, known: Sequence[str]) -> ColibriError:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"the nearest: {', '.join(near)}" if near else ""
    return ColibriError(
        "collection_not_found", f"no collection '{printable(name[:64])}'", hint=hint
    )


def _no_secret(collection: str, name: str) -> ColibriError:
    return ColibriError(
        "secret_missing", f"collection '{collection}' has no variable '{printable(name[:128])}'"
    )
