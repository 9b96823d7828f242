"""`secret` writes to the embedded store unless told otherwise, and says so where that surprises."""

from __future__ import annotations

import pytest

WARNING = "this is source 'embedded', the default source of tenants is 'vault'"
SET = ("secret", "set", "acme", "KEY")


@pytest.fixture
def elsewhere(cli):
    cli.must(*SET, stdin=b"first")
    cli.settings["COLIBRI_DEFAULT_SOURCE"] = "vault"
    return cli


@pytest.mark.parametrize(
    "argv", [SET, ("secret", "import", "acme", "-"), ("secret", "unset", "acme", "KEY")]
)
def test_a_write_without_a_source_says_where_it_went(elsewhere, argv):
    assert WARNING in elsewhere.must(*argv, stdin=b"KEY=second").stderr


def test_a_named_source_needs_no_words(elsewhere):
    assert "default source" not in elsewhere.must(*SET, "--source", "embedded", stdin=b"x").stderr


def test_where_the_default_is_the_same_nothing_is_said(cli):
    assert "default source" not in cli.must(*SET, stdin=b"x").stderr
