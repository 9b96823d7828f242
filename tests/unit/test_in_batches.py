"""How a run is cut: small batches at both ends where the source answers one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_svc.services.batch import in_batches


@given(st.integers(0, 3000), st.integers(1, 200), st.booleans())
def test_all_rows_come_once_in_their_order_and_no_batch_is_too_large(rows, size, one_by_one):
    cut = list(in_batches(range(rows), size, one_by_one=one_by_one))
    assert [row for batch in cut for row in batch] == list(range(rows))
    assert all(0 < len(batch) <= size for batch in cut)


@pytest.mark.parametrize(
    ("rows", "one_by_one", "sizes"),
    [
        (400, True, [16, 32, 64, 64, 64, 64, 48, 24, 16, 8]),
        (400, False, [64, 64, 64, 64, 64, 64, 16]),
        (255, True, [64, 64, 64, 63]),
    ],
    ids=["many", "all at once", "too few to be worth it"],
)
def test_small_ones_are_at_both_ends_of_many(rows, one_by_one, sizes):
    cut = in_batches(range(rows), 64, one_by_one=one_by_one)
    assert [len(batch) for batch in cut] == sizes
