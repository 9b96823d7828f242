"""All collections' versions, a page ahead of who asks for them."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from vault_svc.adapters.sources.vault.refusal import Refusal
from vault_svc.adapters.sources.vault.session import Session
from vault_svc.errors import ColibriError

_Page = tuple[dict[str, str], str]


class Versions:
    """What the server lists, in the order of names; where it can't, nothing is known of any.

    What is wrong then, each collection's own request will say. A list is read no further than those
    requests would go: a server can always think of a name before the next one that is wanted.
    """

    def __init__(self, session: Session, wanted: Collection[str]) -> None:
        """Ask nothing yet, and nothing at all unless some are wanted."""
        self._session = session
        self._wanted = frozenset(wanted)
        self._pages_left = len(self._wanted)
        self._known: dict[str, str] = {}
        self._last = ""
        self._next: Future[_Page] | None = None

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(1)
        if self._wanted:
            self._next = self._pool.submit(self._page, "")
        return self

    def __exit__(self, *_exc: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def of(self, name: str) -> str | None:
        """Return a collection's revision, "" if only a read can tell, None if it is not known."""
        while self._next is not None and name > self._last:
            self._turn(self._next)
        return self._known.get(name)

    def _turn(self, page: Future[_Page]) -> None:
        self._next = None
        try:
            known, last = page.result()
        except (ColibriError, Refusal):
            return
        self._known |= {name: known[name] for name in known.keys() & self._wanted}
        self._pages_left -= 1
        if last > self._last and self._pages_left >= 0:  # else it goes in a circle, or on and on
            self._next = self._pool.submit(self._page, last)
            self._last = last

    def _page(self, after: str) -> _Page:
        return self._session.call(lambda client: client.revisions(after))
