import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inlay.collection.fusion import fuse

rankings = st.lists(
    st.dictionaries(st.integers(0, 12), st.integers(-3, 3).map(float)).map(
        lambda scores: sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))
    ),
    min_size=1,
    max_size=3,
)


def arrays(ranking):
    return np.array([value for _, value in ranking]), np.array([row for row, _ in ranking], np.int64)


def by_definition(rankings, weights, method):
    scores = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        values = [value for _, value in ranking]
        for position, (row, value) in enumerate(ranking, 1):
            if method == "rank":
                share = 1 / (60 + position)
            else:
                span = max(values) - min(values)
                share = (value - min(values)) / span if span else 1.0
            scores[row] = scores.get(row, 0.0) + weight * share
    return scores


@pytest.mark.parametrize("method", ["rank", "score"])
@given(
    rankings=rankings, k=st.integers(1, 15), weights=st.lists(st.sampled_from([0.25, 0.5, 1.0]), min_size=3)
)
def test_fusing_is_what_the_definition_says(method, rankings, k, weights):
    weights = weights[: len(rankings)]
    values, rows = fuse([arrays(ranking) for ranking in rankings], weights, k, method)
    wanted = by_definition(rankings, weights, method)
    assert len(set(rows.tolist())) == len(rows) == min(k, len(wanted))
    np.testing.assert_allclose(values, [wanted[row] for row in rows.tolist()])
    np.testing.assert_allclose(values, sorted(wanted.values(), reverse=True)[:k])


def test_of_equal_ones_the_older_is_first():
    one, other = (np.array([1.0]), np.array([9])), (np.array([5.0]), np.array([3]))
    assert fuse([one, other], [0.5, 0.5], 2, "rank")[1].tolist() == [3, 9]
