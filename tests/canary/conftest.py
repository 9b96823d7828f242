"""A host of its own for each test that hunts."""

from __future__ import annotations

import pytest

from tests.canary.life import Host


@pytest.fixture
def host(state_dir, tmp_path):
    """An initialised state directory, and an empty home, TMPDIR and working directory."""
    made = Host(state_dir, tmp_path)
    made.colibri("init")
    return made


@pytest.fixture
def bare_host(tmp_path):
    """The same places with nothing in them, for hunters to train in."""
    (tmp_path / "state").mkdir()
    (tmp_path / "around").mkdir()
    return Host(tmp_path / "state", tmp_path / "around")
