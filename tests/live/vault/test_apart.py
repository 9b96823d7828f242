"""The tests of tests/vault/test_apart.py, over a real server."""

from tests.vault.test_apart import *  # noqa: F403
