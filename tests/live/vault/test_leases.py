"""The tests of tests/vault/test_leases.py, over a real server and a real PostgreSQL."""

import pytest

from tests.vault.test_leases import *  # noqa: F403

# One database for all of them, and two stop it.
pytestmark = pytest.mark.xdist_group("postgres")
