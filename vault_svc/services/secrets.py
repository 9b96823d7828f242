"""Secrets of collections that colibri can write: set, list, unset, import."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vault_svc.domain import names
from vault_svc.domain.audit import Event
from vault_svc.domain.secret import CollectionRef, SecretInfo, SecretValue
from vault_svc.errors import ColibriError
from vault_svc.ports.secret_source import SecretWriter
from vault_svc.services.context import Context


@dataclass(frozen=True, slots=True)
class Secrets:
    """The operator's write side."""

    context: Context
    writer: Callable[[str, SecretValue | None], SecretWriter]
    operated: Collection[str]

    def needs_operator(self, source: str) -> bool:
        """Say whether a source is written by an operator's token, which is then to be given."""
        return source in self.operated

    def refuse_names(self, collection: str, variables: Iterable[str]) -> None:
        """Raise `usage` or `secret_name_refused` for names that nothing is stored under."""
        names.collection_name(collection)
        for name in variables:
            names.variable(name, allowed=self.context.settings.allowed_variables)

    def change(
        self,
        source: str,
        collection: str,
        updates: Mapping[str, SecretValue | None],
        *,
        create: bool,
        operator: SecretValue | None = None,
    ) -> tuple[CollectionRef, int]:
        """Set and unset variables in one step; audit their names before it and after it."""
        self.refuse_names(collection, updates)
        writer = self.writer(source, operator)
        named: dict[str, Any] = {
            "set": sorted(name for name, value in updates.items() if value is not None),
            "unset": sorted(name for name, value in updates.items() if value is None),
        }
        # What cannot be announced is not done: a log that was cut must not miss this change.
        self.context.record(Event.WILL_CHANGE_COLLECTION, collection=collection, **named)
        ref, revision = writer.change(collection, updates, create=create)
        self._changed(ref, revision, named)
        return ref, revision

    def _changed(self, ref: CollectionRef, revision: int, named: Mapping[str, Any]) -> None:
        try:
            self.context.record(
                Event.COLLECTION_CHANGED,
                collection=ref.name,
                collection_id=ref.collection_id,
                revision=revision,
                **named,
            )
        except ColibriError as error:
            raise ColibriError(
                error.code,
                f"collection '{ref.name}' is changed (revision {revision}), but not wholly"
                f" audited: {error.message}",
                hint=error.hint,
            ) from None

    def infos(
        self, source: str, collection: str, *, operator: SecretValue | None = None
    ) -> tuple[SecretInfo, ...]:
        """Return names, lengths and ages."""
        return self.writer(source, operator).infos(names.collection_name(collection))
