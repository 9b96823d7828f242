"""Arenas for attacks: on the disk, and on a tmpfs for volume."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.kit.arena")

from tests.kit import arena as kit  # noqa: E402  after its asserts were told to explain


@pytest.fixture(params=["openat2", "portable"])
def walk(request: pytest.FixtureRequest) -> str:
    """Both walks: the one Linux uses, and the one everything else uses."""
    return str(request.param)


@pytest.fixture
def arena() -> Iterator[kit.Arena]:
    """A jail on the disk; the oracle must have been armed and is asked in the end."""
    with kit.safe_directory() as top:
        made = kit.Arena(top)
        yield made
        made.check()


@pytest.fixture
def attack(arena: kit.Arena, walk: str) -> kit.Attack:
    return kit.Attack(arena, walk)
