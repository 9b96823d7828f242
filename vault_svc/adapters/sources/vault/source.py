"""The Vault and OpenBao source: each collection is read by a token that reads nothing else."""

from __future__ import annotations

import difflib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace

from vault_svc.adapters.sources.vault import failures, places, values
from vault_svc.adapters.sources.vault.account import Account
from vault_svc.adapters.sources.vault.client import Client, Found
from vault_svc.adapters.sources.vault.options import Rules
from vault_svc.adapters.sources.vault.refusal import Refusal
from vault_svc.adapters.sources.vault.session import Session, Sessions
from vault_svc.adapters.sources.vault.versions import Versions
from vault_svc.domain.secret import CollectionRef, SecretSet, Unchanged
from vault_svc.errors import ColibriError, printable
from vault_svc.ports.secret_source import Answer, Resolved

NAME = "vault"
_SHOWN = 64
# Two usual batches: the server has work left when one takes longer to write than to read.
_AHEAD = 128
_AHEAD_BYTES = 32 * 1024 * 1024
_WORTH_A_LIST = 8

_Measured = tuple[Answer, int]


@dataclass(frozen=True, slots=True)
class VaultSource:
    """SecretSource over one server; nothing is kept between two runs."""

    account: Callable[[], Account]
    sessions: Sessions
    rules: Rules

    @property
    def name(self) -> str:
        """The source's name in rows."""
        return NAME

    @property
    def tells_unchanged(self) -> bool:
        """Whether a collection can be told to be unchanged without reading it: by its metadata."""
        return True

    def locate(self, name_or_id: str) -> CollectionRef:
        """Return the collection of this name or id, if the server has it."""
        found = self.collections()
        for ref in found:
            if name_or_id in {ref.name, ref.collection_id}:
                return ref
        raise _not_found(name_or_id, [ref.name for ref in found])

    def collections(self) -> tuple[CollectionRef, ...]:
        """Return every collection of the folder whose name a tenant could have, sorted by name."""
        account = self.account()
        with self.sessions.open(account) as session:
            return listed(session)

    def resolve(self, refs: Sequence[CollectionRef]) -> Iterator[Resolved]:
        """Yield each ref with its SecretSet or its error; several are read at once, ahead."""
        if not refs:
            return
        with ExitStack() as stack:
            try:
                session = stack.enter_context(self.sessions.open(self.account()))
            except ColibriError as error:
                yield from ((ref, error) for ref in refs)
                return
            versions = Versions(session, _worth_a_list(refs, session))
            yield from self._in_order(refs, session, stack.enter_context(versions))

    def ahead(self) -> None:
        """Return nothing: one governor guards the server."""

    def end_access(self, ref: CollectionRef, *, for_good: bool) -> tuple[str, ...]:
        """Delete the collection's policy when its tenant leaves; a read's token is used up."""
        if not for_good:
            return ()
        with self.sessions.open(self.account()) as session:
            name = session.client.place.agreed(ref)
            dropped = session.call(lambda client: client.drop_policy(name))
        return (f"policy {places.policy_of(name)}",) if dropped else ()

    def _in_order(
        self, refs: Sequence[CollectionRef], session: Session, versions: Versions
    ) -> Iterator[Resolved]:
        """Read a bounded number ahead, so that not every tenant's values are held at once."""
        workers = min(self.sessions.options.concurrency, len(refs))
        ahead: deque[tuple[CollectionRef, Future[_Measured]]] = deque()
        held = _Held()

        def read(ref: CollectionRef, version: str | None) -> _Measured:
            return held.read(_bare(self._one(ref, session, version)))

        def first() -> Resolved:
            ref, future = ahead.popleft()
            return ref, held.taken(future.result())

        with ThreadPoolExecutor(workers) as pool:
            try:
                for ref in refs:
                    version = versions.of(ref.name)
                    ahead.append((ref, pool.submit(read, _verified(ref, version), version)))
                    while len(ahead) >= _AHEAD or (len(ahead) > workers and held.is_heavy):
                        yield first()
                while ahead:
                    yield first()
            finally:
                for _, future in ahead:
                    future.cancel()

    def _one(self, ref: CollectionRef, session: Session, version: str | None) -> Answer:
        try:
            name = session.client.place.agreed(ref)
            if ref.delivered and _is_still(ref.delivered, name, session, version):
                return Unchanged(ref.collection_id, ref.delivered)
            found = session.call(lambda client: _read(client, name))
            return values.secret_set(ref, found, self.rules)
        except ColibriError as error:
            return error
        except Refusal as refusal:
            try:
                return _explained(refusal, name, session)
            except ColibriError as error:
                return error


class _Held:
    """Bytes of values that were read and are not taken yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes = 0

    @property
    def is_heavy(self) -> bool:
        return self._bytes > _AHEAD_BYTES

    def read(self, answer: Answer) -> _Measured:
        size = sum(map(len, answer.values.values())) if isinstance(answer, SecretSet) else 0
        self._add(size)
        return answer, size

    def taken(self, measured: _Measured) -> Answer:
        answer, size = measured
        self._add(-size)
        return answer

    def _add(self, size: int) -> None:
        with self._lock:
            self._bytes += size


def _bare(answer: Answer) -> Answer:
    """Take off where an error came from: its frames hold all that was read, and the token."""
    if isinstance(answer, ColibriError):
        answer.__context__ = None
        answer.with_traceback(None)
    return answer


def _worth_a_list(refs: Sequence[CollectionRef], session: Session) -> list[str]:
    """Return the names whose versions are looked up in a list, which fewer are not worth."""
    delivered = sum(bool(ref.delivered) for ref in refs)
    worth = delivered >= _WORTH_A_LIST and session.client.place.version != 1
    return [ref.name for ref in refs] if worth else []


def _verified(ref: CollectionRef, version: str | None) -> CollectionRef:
    """Look at what a jail holds only where the source has the same: the rest is read anyway."""
    if not ref.delivered:
        return ref
    same = version is None or version == ref.delivered
    return ref if same and ref.is_held() else replace(ref, delivered="")


def _is_still(delivered: str, name: str, session: Session, version: str | None) -> bool:
    """Ask for the version alone, unless it is known; KV version 1 has none."""
    if version is not None:
        return version == delivered
    if session.client.place.version == 1:
        return False
    return session.call(lambda client: client.revision(name)) == delivered


def _denied(name: str, session: Session) -> ColibriError:
    """Return what the tenant's token lacked: the policy, the right in it, or a collection."""
    if session.call(lambda client: client.has_policy(name)):
        return ColibriError(
            "source_forbidden",
            f"the policy '{places.policy_of(name)}' does not let collection '{name}' be read",
            hint="colibri source policies vault --check",
        )
    if not _is_there(name, session):
        return _not_found(name, [])
    return ColibriError(
        "source_forbidden",
        f"the server has no policy '{places.policy_of(name)}'",
        hint="colibri source policies vault --apply",
    )


def _is_there(name: str, session: Session) -> bool:
    return name in session.call(lambda client: client.names())


def _read(client: Client, name: str) -> Found:
    """Mint and read as one step: a token whose one use was lost on the way is no good again."""
    return client.with_token(client.mint(name)).read(name)


def _explained(refusal: Refusal, name: str, session: Session) -> ColibriError:
    """Return why one collection could not be read, looking again where the answer is the same."""
    if failures.is_denied(refusal):
        return _denied(name, session)
    if refusal.gone:
        return ColibriError(
            "secret_missing",
            f"the newest version of collection '{name}' is deleted or destroyed",
            hint="undelete it at the server, or colibri secret set --source vault",
        )
    if "versioned" in refusal.words:
        return ColibriError(
            "server_mismatch",
            f"the mount '{session.client.place.mount}' is KV version 2 now",
            hint="colibri source login vault again: it finds out which version it is",
        )
    if failures.is_missing(refusal):
        return _not_found(name, [])
    return failures.of_orchestrator(refusal, "read a collection")


def listed(session: Session) -> tuple[CollectionRef, ...]:
    """Return the collections that a session sees."""
    found = session.call(lambda client: client.names())
    place = session.client.place
    return tuple(place.ref(name) for name in sorted(found) if places.is_name(name))


def _not_found(wanted: str, known: Sequence[str]) -> ColibriError:
    near = difflib.get_close_matches(wanted, known, 3, 0.5)
    hint = f"the nearest: {', '.join(near)}" if near else "colibri secret set --source vault"
    return ColibriError(
        "collection_not_found", f"no collection '{printable(wanted[:_SHOWN])}'", hint=hint
    )
