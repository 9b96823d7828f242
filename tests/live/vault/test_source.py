"""The tests of tests/vault/test_source.py, over a real server."""

from tests.vault.test_source import *  # noqa: F403
