"""A command gives back what it opened when it ends, not when the garbage collector comes by."""

from __future__ import annotations

import gc
import os

import pytest

from tests.kit import oracle


@pytest.mark.parametrize(
    "argv",
    [
        ("provision", "acme"),
        ("provision", "nobody"),
        ("provision", "--all"),
        ("verify", "acme"),
        ("list-tenants",),
        ("register-tenant", "acme"),
        ("key", "rotate", "host"),
        ("revoke", "acme"),
    ],
    ids=" ".join,
)
def test_no_descriptor_of_the_state_is_left_open(cli, argv):
    cli.tenant("acme")
    gc.disable()
    try:
        cli.run(*argv)
        left = [each for each in oracle.descriptors() if str(cli.state) in each]
    finally:
        gc.enable()
    assert left == []


def test_such_a_descriptor_would_be_seen(cli):
    held = os.open(cli.state, os.O_RDONLY)
    try:
        assert any(str(cli.state) in each for each in oracle.descriptors())
    finally:
        os.close(held)
