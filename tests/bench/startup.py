"""How fast `--help` and `list-tenants` start, beside `import typer`."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from tests.bench.measure import COLIBRI, interleaved

BASE = "python -c 'import typer'"
GOALS = {
    "colibri --help": (2.5, ("--help",)),
    "list-tenants, first page": (4.0, ("list-tenants",)),
    "list-tenants, all rows": (4.0, ("list-tenants", "--limit", "0")),
    "list-tenants, all rows --json": (4.0, ("list-tenants", "--limit", "0", "--json")),
}


def report(environ: Mapping[str, str]) -> None:
    """Print medians of wall and processor time, and their ratios to the baseline's."""
    commands: dict[str, tuple[str, ...]] = {BASE: (sys.executable, "-c", "import typer")}
    commands |= {name: (COLIBRI, *words) for name, (_, words) in GOALS.items()}
    took = interleaved(commands, environ)
    base_wall, base_cpu = took[BASE]
    for name, (wall, cpu) in took.items():
        goal = f"  (goal {GOALS[name][0]})" if name in GOALS else ""
        ratios = f"ratio {wall / base_wall:5.2f}, of processor time {cpu / base_cpu:5.2f}"
        print(f"{name:<31} {wall * 1000:7.0f} ms  {ratios}{goal}")
