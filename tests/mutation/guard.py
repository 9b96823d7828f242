"""A pytest plugin: the code under test is the copy, not the checkout it was copied from."""

from __future__ import annotations

import os
from pathlib import Path


def pytest_configure() -> None:
    import cli.app
    import vault_svc.errors

    tree = Path(os.environ["COLIBRI_MUTATED_TREE"])
    for module in (cli.app, vault_svc.errors):
        if not Path(module.__file__).is_relative_to(tree):
            raise SystemExit(f"{module.__name__} was imported from outside the copy")
