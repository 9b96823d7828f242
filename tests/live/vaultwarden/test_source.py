"""The tests of tests/vaultwarden/test_source.py, over a real Vaultwarden."""

from tests.vaultwarden.test_source import *  # noqa: F403
