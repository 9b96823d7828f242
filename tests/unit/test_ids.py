"""How jails count users."""

from __future__ import annotations

import pytest

from vault_svc.domain.ids import NOBODY, SAME, IdMap, extents, of_tree
from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError

ROOTLESS = extents("         0      64321          1\n         1     200000      65536\n")
MAP = IdMap(ROOTLESS, extents("0 100000 65536\n"))


def test_each_extent_is_shifted_by_its_own():
    assert MAP.outside(Owner(0, 0)) == Owner(64321, 100000)
    assert MAP.outside(Owner(1000, 1000)) == Owner(200999, 101000)
    assert MAP.inside(Owner(200999, 101000)) == Owner(1000, 1000)


@pytest.mark.parametrize("owner", [Owner(65537, 0), Owner(0, 65536), Owner(2**32 - 2, 0)])
def test_owner_without_a_number_is_refused(owner):
    with pytest.raises(ColibriError) as caught:
        MAP.outside(owner)
    assert caught.value.code == "owner_unmapped"


def test_host_id_without_a_number_is_equal_to_no_owner_there_can_be():
    assert MAP.inside(Owner(0, 99999)) == Owner(NOBODY, NOBODY)
    assert NOBODY < 0


def test_jail_without_a_namespace_counts_as_the_host():
    assert SAME.outside(Owner(1000, 2000)) == SAME.inside(Owner(1000, 2000)) == Owner(1000, 2000)


def test_tree_is_shifted_by_its_roots_owner():
    assert of_tree(Owner(0, 0)) is SAME
    assert of_tree(Owner(524288, 524288)).outside(Owner(1000, 1000)) == Owner(525288, 525288)


@pytest.mark.parametrize("root", [Owner(1000, 1000), Owner(524288, 0), Owner(524289, 524289)])
def test_tree_whose_shift_is_unclear_has_none(root):
    assert of_tree(root) is None


@pytest.mark.parametrize("text", ["0 1", "a b c", "0 1 2 3"])
def test_what_is_no_map_is_an_error(text):
    with pytest.raises((ValueError, TypeError)):
        extents(text)
