"""The tests of tests/vault/test_policies.py, over a real server."""

from tests.vault.test_policies import *  # noqa: F403
