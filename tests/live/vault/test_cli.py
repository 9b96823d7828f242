"""The tests of tests/vault/test_cli.py, over a real server."""

from tests.vault.test_cli import *  # noqa: F403
