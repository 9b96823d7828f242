"""The tests of tests/vaultwarden/test_bw.py, over a real Vaultwarden."""

from tests.vaultwarden.test_bw import *  # noqa: F403
