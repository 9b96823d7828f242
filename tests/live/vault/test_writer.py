"""The tests of tests/vault/test_writer.py, over a real server."""

from tests.vault.test_writer import *  # noqa: F403
