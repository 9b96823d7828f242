"""The list of all versions, of a server that means harm: bounded in pages and in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vault_svc.adapters.sources.vault import client
from vault_svc.adapters.sources.vault.client import Client
from vault_svc.adapters.sources.vault.places import Place
from vault_svc.adapters.sources.vault.versions import Versions

MANY = 100
WANTED = [f"t{number}" for number in range(8)]


class Server:
    """Stands for a session, its client and its wire: each page has another last name."""

    def __init__(self, last: Callable[[int], Any] = lambda number: "s" * number) -> None:
        self._last = last
        self.asked: list[Any] = []

    def call(self, ask: Callable[[Client], Any]) -> Any:
        return ask(Client(self, Place("secret", "tenants", 2)))  # type: ignore[arg-type]

    def list(self, _: str, params: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(params.get("after"))
        assert len(self.asked) < MANY, "it asks for ever"
        last = self._last(len(self.asked))
        keys = [*(f"s{number}" for number in range(client.PAGE - 1)), last]
        newest = {"current_version": 1, "versions": {"1": {"created_time": "x"}}}
        known = {f"s{len(self.asked)}-{number}": newest for number in range(1000)}
        return {"data": {"keys": keys, "key_info": known | {"t0": newest}}}


def test_a_list_that_never_ends_is_left():
    server = Server()
    with Versions(server, WANTED) as versions:  # type: ignore[arg-type]
        assert [versions.of(name) for name in WANTED] == ["1@x", *[None] * 7]
        assert len(versions._known) == 1
    assert len(server.asked) <= len(WANTED) + 1


@pytest.mark.parametrize("last", ["\ud800", "a\r\nb", ["t"], None, 5], ids=range(5))
def test_a_list_whose_last_name_can_not_be_asked_for_ends_with_it(last):
    server = Server(lambda _: last)
    with Versions(server, WANTED) as versions:  # type: ignore[arg-type]
        assert versions.of("t0") == "1@x"
        assert versions.of("t1") is None
    assert server.asked == [None]


def test_nothing_is_asked_where_nothing_is_wanted():
    server = Server()
    with Versions(server, ()) as versions:  # type: ignore[arg-type]
        assert versions.of("t0") is None
    assert server.asked == []
