"""Embedded stores and file credentials in a test's own directory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pyrage
from pyrage import x25519

from tests.kit.memory import TurnableClock
from vault_svc.adapters.credentials.store import UriCredentials
from vault_svc.adapters.sources.embedded import EmbeddedSource, Limits, fresh_identity
from vault_svc.domain.secret import CollectionRef, SecretSet, SecretValue


@dataclass
class Store:
    """A store on disk; `source()` is a new process's view of it."""

    home: Path
    clock: TurnableClock

    @property
    def directory(self) -> Path:
        return self.home / "store"

    @property
    def identity(self) -> Path:
        return self.home / "identity.txt"

    def file(self, collection: str) -> Path:
        return self.directory / f"{collection}.age"

    def source(self, credentials=None, **limits) -> EmbeddedSource:
        return EmbeddedSource(
            str(self.directory),
            credentials or UriCredentials(),
            f"file:{self.identity}",
            self.clock,
            limits=Limits(**limits),
            lock_timeout_seconds=20.0,
        )

    def identities(self) -> list[x25519.Identity]:
        lines = self.identity.read_text().split()
        return [x25519.Identity.from_str(word) for word in lines if word.startswith("AGE-SECRET")]

    def plaintext(self, collection: str) -> dict:
        return json.loads(pyrage.decrypt(self.file(collection).read_bytes(), self.identities()))

    def plant(self, collection: str, plaintext: bytes) -> None:
        """Write a well-sealed file with any plaintext."""
        sealed = pyrage.encrypt(plaintext, [self.identities()[0].to_public()])
        self.file(collection).write_bytes(sealed)
        self.file(collection).chmod(0o600)

    def plant_document(self, collection: str, **changes) -> None:
        document = {
            "version": 1,
            "collection_id": "8b4f1a52-0d1f-4c0e-9f53-1f2f5a1c2d3e",
            "revision": 3,
            "secrets": {"TOKEN": {"value": "planted", "set_at": "2026-11-21T03:24:00.000Z"}},
        }
        self.plant(collection, json.dumps(document | changes).encode())


def new_store(home: Path) -> Store:
    """Make a store with an identity and no collection."""
    home.chmod(0o700)
    made = Store(home, TurnableClock())
    made.directory.mkdir(mode=0o700)
    UriCredentials().put(f"file:{made.identity}", fresh_identity())
    return made


def values(**texts: str | None) -> dict[str, SecretValue | None]:
    return {name: None if text is None else SecretValue(text) for name, text in texts.items()}


def revealed(found: object) -> dict[str, str]:
    assert isinstance(found, SecretSet), found
    return {name: value.reveal() for name, value in found.values.items()}


def resolve_one(source, ref: CollectionRef):
    ((_, found),) = source.resolve([ref])
    return found
