"""The tests of tests/vault/test_login.py, over a real server."""

from tests.vault.test_login import *  # noqa: F403
