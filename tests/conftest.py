"""What every test shares: who may run, and the count of what was skipped (decision 26)."""

from __future__ import annotations

import os
import re
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.cli import Cli
from tests.kit.places import private_directory

LATER = pytest.StashKey[int]()
ALLOWED_SKIPS = Path(__file__).with_name("allowed-skips.txt")


def pytest_configure() -> None:
    # A shell's `&` and nohup ignore them, and so would every process that a test ends by them.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not os.environ.get("COLIBRI_TEST_FULL"):
        later = [item for item in items if item.get_closest_marker("full")]
        items[:] = [item for item in items if not item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=later)
        config.stash[LATER] = len(later)
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="needs root")
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(skip)


def _allowed() -> re.Pattern[str]:
    """Test ids that may be skipped; `*` stands for anything."""
    lines = ALLOWED_SKIPS.read_text().splitlines()
    entries = [line.partition(" | ") for line in lines if not line.startswith("#")]
    patterns = [node for node, _, reason in entries if node and reason.strip()]
    return re.compile("|".join(re.escape(each).replace(r"\*", ".*") for each in patterns) or "(?!)")


def pytest_terminal_summary(terminalreporter, exitstatus, config) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    terminalreporter.write_line(f"skipped: {len(skipped)} (reasons above)")
    later = config.stash.get(LATER, 0)
    terminalreporter.write_line(f"left to make full: {later}")
    # Told here: under xdist the conftest files below are the workers' alone.
    passed = terminalreporter.stats.get("passed", [])
    for name in ("raced_attempts", "kill points"):
        total = sum(_property(report, name) for report in passed)
        if total:
            terminalreporter.write_line(f"{name.replace('_', ' ')}: {total}")


def _property(report: pytest.TestReport, name: str) -> int:
    values = [str(value) for key, value in report.user_properties if key == name]
    return sum(int(value.split()[-1]) for value in values)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error) -> None:
    """Take from an xdist worker what only it knows: each collects the whole suite."""
    node.config.stash[LATER] = getattr(node, "workeroutput", {}).get("left_to_full", 0)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_to_full"] = session.config.stash.get(LATER, 0)
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("COLIBRI_TEST_SKIPS_ENFORCED") or reporter is None:
        return
    if hasattr(session.config, "workerinput"):
        return
    allowed = _allowed()
    skipped = [report.nodeid for report in reporter.stats.get("skipped", [])]
    # xdist's loadgroup adds @GROUP to the id.
    ids = {nodeid: {nodeid, nodeid.rpartition("@")[0]} for nodeid in skipped}
    stray = [nodeid for nodeid in skipped if not any(map(allowed.fullmatch, ids[nodeid]))]
    if stray:
        reporter.write_line(f"not on {ALLOWED_SKIPS.name}: {stray}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session", autouse=True)
def _cores_of_later_children() -> Iterator[None]:
    """A colibri run in this process must not take the hard core limit from every later test."""
    real, here = resource.setrlimit, os.getpid()

    def soft(which: int, limits: tuple[int, int]) -> None:
        if which == resource.RLIMIT_CORE and os.getpid() == here:
            limits = (limits[0], resource.getrlimit(which)[1])
        real(which, limits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resource, "setrlimit", soft)
        yield


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """A private directory that colibri accepts; pytest's tmp_path lies under a sticky /tmp."""
    with private_directory() as made:
        yield made


@pytest.fixture
def cli(state_dir: Path) -> Cli:
    """A colibri with an initialised state directory of its own."""
    return Cli(state_dir).ready()
