"""Where collections live: what services ask of embedded, Vaultwarden and Vault sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from vault_svc.domain.secret import CollectionRef, SecretInfo, SecretSet, SecretValue, Unchanged
from vault_svc.errors import ColibriError

Answer = SecretSet | Unchanged | ColibriError
Resolved = tuple[CollectionRef, Answer]
Resolve = Callable[[Sequence[CollectionRef]], Iterator[Resolved]]


class SecretSource(Protocol):
    """Reads collections; every failure is a ColibriError of status 5 or 6."""

    @property
    def name(self) -> str:
        """The source's name in rows: embedded, vaultwarden, vault."""
        ...

    @property
    def tells_unchanged(self) -> bool:
        """Whether `resolve` makes use of a ref's `delivered`."""
        ...

    def locate(self, name_or_id: str) -> CollectionRef:
        """Return the one collection with exactly this name or id.

        Raises `collection_not_found` (the hint lists the nearest names) or
        `collection_ambiguous`.
        """
        ...

    def collections(self) -> tuple[CollectionRef, ...]:
        """Return every collection there is, sorted by name."""
        ...

    def resolve(self, refs: Sequence[CollectionRef]) -> Iterator[Resolved]:
        """Yield each of refs, in order, with its whole SecretSet or with why it has none.

        A ref whose `delivered` is the source's revision still may be answered with `Unchanged`,
        once its `is_held`, asked by the thread that takes the answers, has said so.
        A failure of one collection is that collection's alone; a failure of the whole source
        is yielded for each. An empty collection is an empty SecretSet: refusing it is policy.
        Raises `server_mismatch` per collection when id and name no longer agree.
        """
        ...

    def ahead(self) -> Resolve | None:
        """Return what answers as `resolve` does, a part each, in processes made after this call.

        Asks the source now where each would have to. None where parts are not to be had. Raises
        what stops the whole source.
        """
        ...

    def end_access(self, ref: CollectionRef, *, for_good: bool) -> tuple[str, ...]:
        """End tokens and leases of a collection at the source; return what ended, in words.

        for_good: the tenant leaves, and what would let it be read again goes too.
        """
        ...


class SecretWriter(Protocol):
    """The write side, for sources whose operators have no other."""

    def create(self, collection: str) -> CollectionRef:
        """Make an empty collection; raise `collection_taken` if the name is in use."""
        ...

    def change(
        self, collection: str, updates: Mapping[str, SecretValue | None], *, create: bool = False
    ) -> tuple[CollectionRef, int]:
        """Set (value) and unset (None) variables in one atomic step; return the new revision.

        An update that changes nothing writes nothing and returns the revision there is.
        Raises `collection_not_found` unless create, `secret_missing` when unsetting what is
        not there, `secret_name_refused`, `secret_value_unrepresentable` over a limit, `busy`.
        """
        ...

    def infos(self, collection: str) -> tuple[SecretInfo, ...]:
        """Return name, length and age of each secret, sorted by name; never a value."""
        ...


class IdentityRotator(Protocol):
    """A store that colibri itself seals."""

    def rotate_identity(self) -> int:
        """Re-encrypt every collection to a new identity; return how many; safe to repeat."""
        ...
