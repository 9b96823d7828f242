"""How fast `--help` and `list-tenants` start, beside `import typer`."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from tests.bench.measure import COLIBRI, child, median


def report(environ: Mapping[str, str]) -> None:
    def seconds(*argv: str) -> float:
        return median(lambda: child(argv, environ)[0])

    base = seconds(sys.executable, "-c", "import typer")
    print(f"python -c 'import typer'        {base * 1000:7.0f} ms  (baseline)")
    for name, goal, argv in (
        ("colibri --help", 2.5, ("--help",)),
        ("list-tenants, all rows --json", 4.0, ("list-tenants", "--limit", "0", "--json")),
        ("list-tenants, all rows", 4.0, ("list-tenants", "--limit", "0")),
        ("list-tenants, first page", 4.0, ("list-tenants",)),
    ):
        took = seconds(COLIBRI, *argv)
        print(f"{name:<31} {took * 1000:7.0f} ms  ratio {took / base:5.2f}  (goal {goal})")
