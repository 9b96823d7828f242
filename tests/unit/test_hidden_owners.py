"""Owners that a user namespace hides: trusted only as they were seen outside."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from vault_svc.domain.ids import Extent, IdMap
from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError
from vault_svc.hazmat import hidden_owners

NOBODY = 65534


def _status(uid: int, dev: int = 7, ino: int = 42) -> os.stat_result:
    return os.stat_result((0o40755, ino, dev, 2, uid, uid, 0, 0, 0, 0))


@pytest.fixture(autouse=True)
def _nothing_vouched(monkeypatch: Any) -> None:
    monkeypatch.setattr(hidden_owners, "_vouched", set())


def test_only_what_was_vouched_for_passes_without_an_owner() -> None:
    trusted = hidden_owners.is_ours_or_roots
    assert trusted(_status(0))
    assert trusted(_status(os.geteuid()))
    assert not trusted(_status(NOBODY))
    hidden_owners.vouch(["7:42"])
    assert trusted(_status(NOBODY))
    assert not trusted(_status(NOBODY, ino=43))
    assert not trusted(_status(NOBODY, dev=8))
    assert not trusted(_status(1234)), "a neighbour that has a number here"


@pytest.mark.parametrize("text", ["", "7", "7:", ":42", "7:42:1", "a:b", "-7:42"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ColibriError) as caught:
        hidden_owners.vouch([text])
    assert caught.value.code == "usage"


def test_the_way_ends_at_the_first_directory_that_is_not_roots_alone(tmp_path: Path) -> None:
    top = os.stat("/")
    assert hidden_owners.of_root(["/"]) == [f"{top.st_dev}:{top.st_ino}"]
    assert hidden_owners.of_root(["/tmp/x"]) == hidden_owners.of_root(["/"])
    assert hidden_owners.of_root(["/not/there"]) == hidden_owners.of_root(["/"])
    usr = os.stat("/usr")
    assert f"{usr.st_dev}:{usr.st_ino}" in hidden_owners.of_root(["/usr/lib", "/"])


def test_in_a_namespace_that_is_ours_an_id_is_itself() -> None:
    shown = (Extent(0, 1001, 1), Extent(1, 100_000, 65_536))
    mapped = IdMap(shown, shown).to_itself()
    assert mapped.outside(Owner(0, 0)) == Owner(0, 0)
    assert mapped.outside(Owner(1000, 1000)) == Owner(1000, 1000)
    with pytest.raises(ColibriError):
        mapped.outside(Owner(70_000, 0))
