import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from inlay.kernels import table
from tests.awkward import DIMS, KINDS, at_page_end, dims, rows, seeds

METRICS = ("l2", "ip")


def close_enough(found, queries, x, metric):
    """Rounding is relative to the sum of the absolute terms: that of their differences may be anything."""
    dim = queries.shape[1]
    allowance = (1e-5 + 1e-6 * dim**0.5) * reference.score_sizes(queries, x, metric)
    # What the smallest float32 cannot hold is lost at every term.
    return np.abs(found - reference.scores(queries, x, metric)) <= allowance + dim * 2.0**-149


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", DIMS)
def test_scores_are_their_definition_for_every_kind_of_row(level, metric, dim):
    x = np.concatenate([rows(kind, 2, dim) for kind in KINDS])
    queries = np.concatenate([rows(kind, 1, dim, seed=1) for kind in KINDS])
    found = table.scores(queries, x, metric, level)
    assert found.dtype == np.float32
    assert close_enough(found, queries, x, metric).all()


@given(
    metric=st.sampled_from(METRICS),
    dim=dims | st.integers(1, 40),
    n_queries=st.integers(0, 11),
    n_rows=st.integers(0, 70),
    seed=seeds,
)
def test_a_score_is_the_same_bits_whatever_shares_the_call(level, metric, dim, n_queries, n_rows, seed):
    rng = np.random.default_rng(seed)
    queries = rng.standard_normal((n_queries, dim), np.float32)
    x = rng.standard_normal((n_rows, dim), np.float32)
    together = table.scores(queries, x, metric, level)
    assert together.shape == (n_queries, n_rows)
    assert close_enough(together, queries, x, metric).all()
    for q in range(n_queries):
        alone = table.scores(queries[q : q + 1], x, metric, level)
        np.testing.assert_array_equal(alone[0], together[q])
        some = rng.integers(0, n_rows, 13 if n_rows else 0).astype(np.uint32)
        np.testing.assert_array_equal(table.scores_of(queries[q], x, some, metric, level), together[q, some])
    for r in range(0, n_rows, 9):
        alone = table.scores(queries, x[r : r + 1], metric, level)
        np.testing.assert_array_equal(alone[:, 0], together[:, r])


@pytest.mark.parametrize("metric", METRICS)
def test_rows_named_twice_and_out_of_order_are_scored_in_the_order_given(level, metric, rng):
    x = rng.standard_normal((5, 33), np.float32)
    query = rng.standard_normal(33, np.float32)
    ids = np.array([4, 0, 4, 4, 2, 1, 0, 3, 3, 2, 4], np.uint32)
    found = table.scores_of(query, x, ids, metric, level)
    np.testing.assert_array_equal(found, table.scores(query[None], x, metric, level)[0, ids])


@pytest.mark.parametrize("dim", DIMS)
def test_a_row_is_at_distance_zero_from_itself(level, dim):
    x = np.concatenate([rows(kind, 1, dim) for kind in KINDS])
    np.testing.assert_array_equal(np.diagonal(table.scores(x, x, "l2", level)), 0)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", range(1, 36))
def test_nothing_is_read_past_the_last_row(level, metric, dim, rng):
    for n_queries, n_rows in ((1, 1), (1, 9), (5, 7)):
        queries = at_page_end(rng.standard_normal((n_queries, dim), np.float32))
        x = at_page_end(rng.standard_normal((n_rows, dim), np.float32))
        assert close_enough(table.scores(queries, x, metric, level), queries, x, metric).all()
        last = at_page_end(np.full(11, n_rows - 1, np.uint32))
        found = table.scores_of(queries[0], x, last, metric, level)
        assert close_enough(found[:1, None], queries[:1], x[-1:], metric).all()


# Rows of float16


def halves(rng, *shape):
    """Numbers of all sizes, zeros and denormal ones among them."""
    bits = rng.integers(0, 0x10000, shape, np.uint16)
    return np.where(bits & 0x7C00 == 0x7C00, bits & 0x83FF, bits).astype(np.uint16).view(np.float16)


@given(
    metric=st.sampled_from(METRICS),
    dim=dims | st.integers(1, 40),
    n_queries=st.integers(0, 11),
    n_rows=st.integers(0, 40),
    seed=seeds,
)
def test_float16_rows_have_the_scores_of_the_same_rows_in_float32(
    level, metric, dim, n_queries, n_rows, seed
):
    rng = np.random.default_rng(seed)
    queries = rng.standard_normal((n_queries, dim), np.float32)
    x = halves(rng, n_rows, dim)
    whole = x.astype(np.float32)
    wanted = table.scores(queries, whole, metric, level)
    np.testing.assert_array_equal(table.scores(queries, x, metric, level), wanted)
    some = rng.integers(0, n_rows, 13 if n_rows else 0).astype(np.uint32)
    for q in range(n_queries):
        np.testing.assert_array_equal(table.scores_of(queries[q], x, some, metric, level), wanted[q, some])


def test_every_float16_is_what_it_stands_for(level):
    x = np.arange(0x10000, dtype=np.uint16).view(np.float16)
    x = x[np.isfinite(x), None]
    query = np.ones(1, np.float32)
    slots = np.arange(len(x), dtype=np.uint32)
    found = table.scores_of(query, x, slots, "ip", level)
    np.testing.assert_array_equal(found, -x[:, 0].astype(np.float32))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", range(1, 36))
def test_nothing_is_read_past_the_last_float16_row(level, metric, dim, rng):
    for n_queries, n_rows in ((1, 1), (1, 9), (5, 7)):
        queries = at_page_end(rng.standard_normal((n_queries, dim), np.float32))
        x = at_page_end(rng.standard_normal((n_rows, dim), np.float32).astype(np.float16))
        whole = x.astype(np.float32)
        wanted = table.scores(queries, whole, metric, level)
        np.testing.assert_array_equal(table.scores(queries, x, metric, level), wanted)
        last = at_page_end(np.full(11, n_rows - 1, np.uint32))
        np.testing.assert_array_equal(table.scores_of(queries[0], x, last, metric, level), wanted[0, -1])


def test_rows_of_another_dtype_are_refused():
    with pytest.raises(ValueError, match="rows must be float32 or float16, not float64"):
        table.scores(np.ones((1, 3), np.float32), np.ones((2, 3)), "ip")
