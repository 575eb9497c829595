import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from inlay.kernels import table
from tests.awkward import at_page_end, seeds


def drawn_scores(rng, kind, n):
    if kind == "few values":
        return rng.integers(-2, 3, n).astype(np.float32)
    if kind == "one value":
        return np.full(n, 7.5, np.float32)
    if kind == "falling":  # every score passes the threshold
        return -np.arange(n, dtype=np.float32)
    if kind == "rising":
        return np.arange(n, dtype=np.float32)
    values = rng.standard_normal(n, np.float32)
    if kind == "special":
        special = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 3e38], np.float32)
        values = np.where(rng.random(n) < 0.5, rng.choice(special, n), values)
    return values


KINDS = ("gaussian", "few values", "one value", "falling", "rising", "special")


@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(0, 40) | st.integers(0, 3000),
    k=st.integers(1, 20) | st.integers(1, 3500),
    with_ids=st.booleans(),
    share=st.sampled_from([None, 0.0, 0.05, 0.5, 1.0]),
    seed=seeds,
)
def test_the_k_best_are_those_of_a_full_sort(level, kind, n, k, with_ids, share, seed):
    rng = np.random.default_rng(seed)
    values = drawn_scores(rng, kind, n)
    ids = rng.permutation(n).astype(np.int64) * 10**10 - 5 * 10**9 if with_ids and n else None
    allowed = None if share is None else rng.random(n) < share
    found, slots = table.top_k(values, k, allowed, ids, level)
    best, best_slots = reference.top_k(values, k, allowed, ids)
    np.testing.assert_array_equal(slots, best_slots)
    np.testing.assert_array_equal(found.view(np.uint32), best.view(np.uint32))


@pytest.mark.parametrize("n", [1, 255, 256, 257, 511, 512, 513, 5000])
def test_among_equal_scores_the_lower_id_wins_wherever_it_stands(level, n):
    ids = np.arange(n, dtype=np.int64)[::-1].copy()
    found, slots = table.top_k(np.zeros(n, np.float32), 3, None, ids, level)
    np.testing.assert_array_equal(ids[slots], np.arange(min(n, 3)))
    np.testing.assert_array_equal(found, 0)


def test_minus_zero_is_zero(level):
    values = np.array([0.0, -0.0] * 20, np.float32)
    found, slots = table.top_k(values, 40, None, None, level)
    np.testing.assert_array_equal(slots, np.arange(40))
    assert not np.signbit(found).any()


def test_nan_is_never_a_result(level):
    values = np.full(100, np.nan, np.float32)
    values[[3, 64]] = np.inf, 2.0
    found, slots = table.top_k(values, 10, None, None, level)
    np.testing.assert_array_equal(slots, [64, 3])
    np.testing.assert_array_equal(found, [2.0, np.inf])


def test_nothing_is_read_past_the_last_score(level, rng):
    for n in [*range(1, 50), 256, 257, 300, 1000]:
        values = at_page_end(rng.standard_normal(n, np.float32))
        for allowed in (None, rng.random(n) < 0.7):
            found, slots = table.top_k(values, 5, allowed, None, level)
            best, best_slots = reference.top_k(values, 5, allowed)
            np.testing.assert_array_equal(slots, best_slots)
            np.testing.assert_array_equal(found, best)
