"""Durable in the right order: no receipt for what a power cut could still take away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.driver import Colibri
from tests.crash.order import misplaced
from tests.crash.scenarios import SCENARIOS


def _broken(colibri: Colibri, state_dir: Path, name: str) -> list[str]:
    scenario = SCENARIOS[name]
    colibri.use(state_dir / "state", write_concurrency="1")
    scenario.prepare(colibri, state_dir / "state")
    ran, calls = colibri.traced(*scenario.command, paths=True)
    assert ran.status == 0, ran
    return list(misplaced(calls))


@pytest.mark.root  # strace reads an unprivileged colibri's paths no more than others do
@pytest.mark.parametrize("name", ["provision-first", "provision-changed", "provision-repair"])
def test_each_step_is_durable_before_the_next(colibri: Colibri, state_dir: Path, name: str) -> None:
    assert _broken(colibri, state_dir, name) == []


@pytest.mark.root
@pytest.mark.mutation
@pytest.mark.parametrize(
    ("flaw", "rule"),
    [
        ("file-not-synced", "file"),
        ("directory-not-synced", "directory"),
        ("log-not-synced", "announcement"),
        ("announced-late", "announcement"),
        ("mode-set-late", "owner"),
        ("reported-late", "report"),
        ("no-intents", "intent"),
    ],
)
def test_a_step_out_of_order_is_found_out(
    strace: None, tmp_path: Path, state_dir: Path, flaw: str, rule: str
) -> None:
    colibri = Colibri(tmp_path, flaw)
    try:
        broken = _broken(colibri, state_dir, "provision-changed")
    finally:
        colibri.close()
    assert [text for text in broken if text.startswith(f"{rule}:")]
