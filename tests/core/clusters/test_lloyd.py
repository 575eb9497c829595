"""The loops of k-means against NumPy, at every CPU level."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inlay.clusters.lloyd import approach, sums, two_least
from inlay.kernels import table
from tests.awkward import at_page_end, seeds

levels = pytest.mark.parametrize("level", table.levels())


@levels
@given(n=st.integers(0, 5), k=st.integers(1, 70), few=st.booleans(), seed=seeds)
def test_two_least_are_the_first_of_a_stable_sort(level, n, k, few, seed):
    rng = np.random.default_rng(seed)
    scores, offsets = rng.standard_normal((n, k), np.float32), rng.standard_normal(k, np.float32)
    if few:  # ties
        scores, offsets = np.rint(scores), np.rint(offsets)
    which, least, second = two_least(at_page_end(scores), at_page_end(offsets), level)
    together = scores + offsets
    order = np.argsort(together, axis=1, kind="stable")
    line = np.arange(n)
    np.testing.assert_array_equal(which, order[:, 0] if n else [])
    np.testing.assert_array_equal(least, together[line, order[:, 0]] if n else [])
    np.testing.assert_array_equal(second, together[line, order[:, 1]] if n and k > 1 else np.full(n, np.inf))


@levels
@given(
    n=st.sampled_from((0, 1, 33)),
    k=st.integers(0, 3),
    dim=st.sampled_from((1, 7, 16, 63, 65, 1000)),
    seed=seeds,
)
def test_approach_is_the_least_squared_distance_and_the_same_at_every_level(level, n, k, dim, seed):
    rng = np.random.default_rng(seed)
    rows, centres = rng.standard_normal((n, dim), np.float32), rng.standard_normal((k, dim), np.float32)
    least = rng.uniform(0, 2 * dim, n).astype(np.float32)
    plain = least.copy()
    apart = np.square(rows[:, None].astype(np.float64) - centres).sum(axis=2)
    expected = np.concatenate([least[:, None], apart], axis=1).min(axis=1)
    approach(at_page_end(centres), at_page_end(rows), least, level)
    np.testing.assert_allclose(least, expected, rtol=1e-5)
    approach(centres, rows, plain, "scalar")
    np.testing.assert_array_equal(least, plain)


@given(n=st.integers(0, 50), dim=st.integers(1, 20), k=st.integers(1, 9), seed=seeds)
def test_sums_are_those_of_the_rows_of_each_label(n, dim, k, seed):
    rng = np.random.default_rng(seed)
    rows, labels = rng.standard_normal((n, dim), np.float32), rng.integers(0, k, n).astype(np.int32)
    total, counts = sums(rows, labels, k)
    np.testing.assert_array_equal(counts, np.bincount(labels, minlength=k))
    for label in range(k):
        np.testing.assert_allclose(
            total[label], rows[labels == label].sum(axis=0, dtype=np.float64), rtol=1e-12, atol=1e-12
        )
