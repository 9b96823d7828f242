"""The Vaultwarden source: any number of collections of one organisation are one session."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from vault_svc.adapters.sources.vaultwarden import answers, items
from vault_svc.adapters.sources.vaultwarden.account import Account
from vault_svc.adapters.sources.vaultwarden.answers import Content
from vault_svc.adapters.sources.vaultwarden.breaker import Breaker
from vault_svc.adapters.sources.vaultwarden.options import Rules
from vault_svc.adapters.sources.vaultwarden.session import Sessions
from vault_svc.domain.secret import CollectionRef, SecretSet
from vault_svc.errors import ColibriError, printable
from vault_svc.ports.secret_source import Resolve, Resolved

NAME = "vaultwarden"
_SHOWN = 64
_LISTED = 4


@dataclass(frozen=True, slots=True)
class VaultwardenSource:
    """SecretSource over the real `bw`; nothing is kept between two reads."""

    account: Callable[[], Account]
    sessions: Sessions
    breaker: Breaker
    rules: Rules

    @property
    def name(self) -> str:
        """The source's name in rows."""
        return NAME

    @property
    def tells_unchanged(self) -> bool:
        """Whether a collection can be told to be unchanged without reading it: no."""
        return False

    def locate(self, name_or_id: str) -> CollectionRef:
        """Return the one collection of exactly this name, or of this id."""
        content = self.content(items=False)
        refs = content.collections
        found = [ref for ref in refs if ref.collection_id == name_or_id]
        found = found or [ref for ref in refs if ref.name == name_or_id]
        if len(found) > 1:
            raise ColibriError(
                "collection_ambiguous",
                f"{len(found)} collections are called '{printable(name_or_id[:_SHOWN])}'",
                hint="name it by its id: " + _ids(found),
            )
        if not found:
            raise _not_found(name_or_id, content)
        return found[0]

    def collections(self) -> tuple[CollectionRef, ...]:
        """Return every collection the account can see, sorted by name."""
        return self.content(items=False).collections

    def resolve(self, refs: Sequence[CollectionRef]) -> Iterator[Resolved]:
        """Yield each ref with its SecretSet or its error, after one session for all of them.

        The session is over before the first is yielded: who takes long keeps nothing unlocked.
        """
        if not refs:
            return
        try:
            resolve = self.ahead()
        except ColibriError as error:
            yield from ((ref, error) for ref in refs)
            return
        yield from resolve(refs)

    def ahead(self) -> Resolve:
        """Return what answers from one session that is over: parts cost no session each."""
        return partial(self._resolved, self.content(items=True))

    def _resolved(self, content: Content, refs: Sequence[CollectionRef]) -> Iterator[Resolved]:
        known = {ref.collection_id: ref for ref in content.collections}
        for ref in refs:
            yield ref, self._one(ref, known.get(ref.collection_id), content)

    def end_access(self, ref: CollectionRef, *, for_good: bool) -> tuple[str, ...]:
        """Return nothing: a read leaves no token or lease of a collection's own."""
        del ref, for_good
        return ()

    def content(self, *, items: bool) -> Content:
        """Return the organisation's content, read in one session and checked."""
        account = self.account()

        def ask() -> Content:
            lists, kept = self.sessions.read(account, account.organization_id, items=items)
            return answers.checked(lists, kept, account.organization_id)

        return self.breaker.call(ask)

    def _one(
        self, ref: CollectionRef, found: CollectionRef | None, content: Content
    ) -> SecretSet | ColibriError:
        if ref.collection_id in content.broken:
            return content.broken[ref.collection_id]
        if found is None:
            same = [known for known in content.collections if known.name == ref.name]
            return _mismatch(ref, "its id differs") if same else _not_found(ref.name, content)
        if found.name != ref.name:
            return _mismatch(ref, f"its name is '{printable(found.name[:_SHOWN])}' now")
        try:
            return items.secret_set(found, content.items[ref.collection_id], self.rules)
        except ColibriError as error:
            return error


def _ids(found: Sequence[CollectionRef]) -> str:
    more = f", or one of {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return " or ".join(ref.collection_id for ref in found[:_LISTED]) + more


def _mismatch(ref: CollectionRef, why: str) -> ColibriError:
    return ColibriError(
        "server_mismatch",
        f"collection '{printable(ref.name[:_SHOWN])}' is not the one that was registered: {why}",
        hint=f"colibri update-tenant TENANT --collection {ref.collection_id}, if this one is meant",
    )


def _not_found(wanted: str, content: Content) -> ColibriError:
    names = {ref.name.casefold(): ref.name for ref in content.collections}
    near = difflib.get_close_matches(wanted.casefold(), names, 3, 0.5)
    shown = ", ".join(f"'{printable(names[name][:_SHOWN])}'" for name in near)
    hint = f"the nearest: {shown}" if near else "let the service account read it, or make it"
    return ColibriError(
        "collection_not_found", f"no collection '{printable(wanted[:_SHOWN])}'", hint=hint
    )
