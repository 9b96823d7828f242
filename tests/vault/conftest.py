"""Worlds for tests: the double here; tests/live/vault has the same over a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.kit.vault import Double, World
from tests.vault.bank import Bank

NewWorld = Callable[..., World]


@pytest.fixture
def double() -> Iterator[Double]:
    with Double() as made:
        yield made


@pytest.fixture
def new_world(double: Double) -> NewWorld:
    """Make a world of a mount of its own."""
    made = 0

    def make(*, version: int = 2) -> World:
        nonlocal made
        made += 1
        mount = "secret" if made == 1 else f"secret{made}"
        world = World(double.url, double.root, mount=mount, version=version, server=double)
        return world.prepared()

    return make


@pytest.fixture
def world(new_world: NewWorld) -> World:
    return new_world()


@pytest.fixture
def bank(world: World) -> Bank:
    return Bank(world, "database", "pki").opened()
