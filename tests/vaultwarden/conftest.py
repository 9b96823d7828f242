"""Worlds for tests: the double here; tests/live/vaultwarden has the same over a real server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.vaultwarden import ARGON2ID, PBKDF2, Double
from tests.kit.vaultwarden.world import NewWorld

KDFS = {"pbkdf2": PBKDF2, "argon2id": ARGON2ID}


@pytest.fixture
def new_world(tmp_path: Path) -> Iterator[NewWorld]:
    """Make worlds that end with the test; kdf by name, since servers differ in what they take."""
    with contextlib.ExitStack() as stack:

        def make(*, kdf: str = "pbkdf2", **asked) -> Double:
            return stack.enter_context(Double(tmp_path, kdf=KDFS[kdf], **asked))

        yield make


@pytest.fixture
def double(tmp_path: Path) -> Iterator[Double]:
    """A double with one organisation and nothing in it."""
    with Double(tmp_path) as made:
        yield made
