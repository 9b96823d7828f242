"""The tests of tests/vault/test_doctor.py, over a real server."""

from tests.vault.test_doctor import *  # noqa: F403
