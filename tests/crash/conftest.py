"""One warm colibri for each worker."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash import tracing
from tests.crash.driver import Colibri


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.crash)


@pytest.fixture(scope="session")
def strace() -> None:
    if not tracing.strace():
        pytest.skip("strace is not installed")


@pytest.fixture(scope="session")
def colibri(strace: None) -> Iterator[Colibri]:
    with tempfile.TemporaryDirectory() as scratch:
        made = Colibri(Path(scratch))
        yield made
        made.close()
