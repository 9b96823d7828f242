"""The suite has eyes: colibri with one promise broken is found out, by the rule that says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.driver import Colibri
from tests.crash.scenarios import SCENARIOS
from tests.crash.sweep import Sweep

_NAMING = ("open", "openat", "link", "linkat", "rename", "renameat", "unlink", "unlinkat")
_FILLING = ("write", "ftruncate", "fchown", "fchmod", "fsync")
# flaw: the scenario that meets it, the rule that must speak, the calls at which it can be seen
FLAWS = {
    "written-in-place": ("provision-changed", "torn", _FILLING),
    "mode-set-late": ("provision-changed", "torn", _FILLING),
    "announced-late": ("provision-first", "unannounced", ("fsync", "fdatasync")),
    "reported-late": ("provision-changed", "lost-line", ("fallocate", "fdatasync")),
    "receipt-first": ("provision-first", "lying-row", _NAMING),
    "no-intents": ("provision-changed", "lying-row", ("fsync",)),
    "no-sweep": ("provision-changed", "leftover", _NAMING),
    "never-done": ("provision-changed", "no-op", ("fsync",)),
    "closed-first": ("revoke", "lying-row", _NAMING),
    "store-in-place": ("secret-set", "torn", _FILLING),
    "log-rewritten": ("provision-changed", "lost-line", _FILLING),
}


@pytest.mark.mutation
@pytest.mark.parametrize(
    # The file that gets its mode late has none before: only root reads it then.
    "flaw",
    [pytest.param(f, marks=[pytest.mark.root] * (f == "mode-set-late")) for f in FLAWS],
)
def test_a_broken_promise_is_found_out(
    strace: None, tmp_path: Path, state_dir: Path, flaw: str
) -> None:
    name, rule, calls = FLAWS[flaw]
    colibri = Colibri(tmp_path, flaw)
    try:
        sweep = Sweep(colibri, state_dir, SCENARIOS[name])
        points = [point for point in sweep.points if point.name in calls]
        # From the end: everything that is worth a kill comes after the locks and the database.
        for killed in sweep.kill(points[::-1]):
            if any(text.startswith(f"{rule}:") for text in killed.broken):
                return
    finally:
        colibri.close()
    pytest.fail(f"{len(points)} kills, and nobody saw '{flaw}'")
