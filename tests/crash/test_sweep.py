"""Killed at every state-changing call, then run again: nothing torn, left, lying or lost.

The full sweep (`make crash`) kills at every call, whatever it is.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.crash.driver import Colibri, Installed
from tests.crash.scenarios import SCENARIOS, THREADS
from tests.crash.sweep import Sweep

FULL = bool(os.environ.get("COLIBRI_TEST_CRASH_FULL"))
PARTS = 12 if FULL else 2
# Which calls a process makes between its state-changing ones varies a little (memory, locks).
MISSED = 0.03


@pytest.mark.timeout(3600 if FULL else 300)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_anywhere_and_run_again(
    colibri: Colibri, state_dir: Path, record_property, name: str, part: int
) -> None:
    sweep = Sweep(colibri, state_dir, SCENARIOS[name], every=FULL)
    assert len(sweep.points) >= SCENARIOS[name].floor, "the sweep has shrunk"
    step = 1 if FULL else SCENARIOS[name].share
    mine = sweep.points[::step][part::PARTS]
    print(f"{name}: {len(sweep.points)} kill points, {len(mine)} in part {part + 1} of {PARTS}")
    record_property("kill points", f"{name} {len(mine)}")
    broken = [(str(k.at), text) for k in sweep.kill(mine) for text in k.broken]
    missed = [text for _, text in broken if FULL and text.startswith("missed")]
    assert [each for each in broken if each[1] not in missed] == []
    assert len(missed) <= MISSED * len(mine)


def test_killed_while_several_threads_write(
    colibri: Colibri, state_dir: Path, record_property
) -> None:
    sweep = Sweep(colibri, state_dir, THREADS)
    assert len(sweep.points) >= THREADS.floor
    mine = sweep.points * 3  # threads interleave differently each time
    print(f"{THREADS.name}: {len(mine)} kills at {len(sweep.points)} points")
    record_property("kill points", f"{THREADS.name} {len(mine)}")
    assert [(str(k.at), text) for k in sweep.kill(mine) for text in k.broken] == []


def test_the_installed_command_is_killed_alike(
    strace: None, tmp_path: Path, state_dir: Path, record_property
) -> None:
    """The warm server is a convenience: the installed colibri breaks no promise either."""
    sweep = Sweep(Installed(tmp_path), state_dir, SCENARIOS["provision-changed"])
    mine = [call for call in sweep.points if call.name in {"rename", "renameat", "linkat", "fsync"}]
    assert len(mine) >= 4
    print(f"installed: {len(mine)} kill points")
    record_property("kill points", f"installed {len(mine)}")
    assert [(str(k.at), text) for k in sweep.kill(mine) for text in k.broken] == []
