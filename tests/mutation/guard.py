"""A pytest plugin: the code under test is the copy, and what failed is told by its whole name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

RED = "red: "


def pytest_configure(config: pytest.Config) -> None:
    import cli.app
    import vault_svc.errors

    config.addinivalue_line("markers", "xdist_group: of the plugin that is left out here")
    tree = Path(os.environ["COLIBRI_MUTATED_TREE"])
    for module in (cli.app, vault_svc.errors):
        if not Path(module.__file__).is_relative_to(tree):
            raise SystemExit(f"{module.__name__} was imported from outside the copy")


def pytest_terminal_summary(terminalreporter) -> None:
    stats = terminalreporter.stats
    after = [report for report in stats.get("error", []) if report.when == "teardown"]
    for report in [*stats.get("failed", []), *after]:
        terminalreporter.write_line(RED + json.dumps(report.nodeid))
