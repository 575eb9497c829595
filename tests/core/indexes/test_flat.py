"""The exact index finds what plain float64 arithmetic finds, to the last bit where that is exact."""

import numpy as np
import pytest
from core.indexes.forms import METRICS, assert_in_order, gaussian, lengths_one, values

import inlay


def whole_rows(n, dim, seed=0):
    """Small whole numbers: every product and sum of them is exact in float32."""
    return np.random.default_rng(seed).integers(-9, 10, (n, dim)).astype(np.float32)


def nearest(true, ids, metric, k):
    """The k best ids of every query by definition: value, then id."""
    key = true if metric == "l2" else -true
    return np.array([ids[np.lexsort((ids, line))][:k] for line in key])


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("dim", [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100])
def test_whole_numbers_are_searched_without_an_error(level, metric, dim):
    ids = np.random.default_rng(dim).permutation(700) * 3 - 1001
    rows, queries = whole_rows(700, dim), whole_rows(11, dim, seed=1)
    index = inlay.FlatIndex(dim, metric)
    index.add(rows, ids)
    true = values(queries, rows, metric)
    for k in (1, 13, 700):
        distances, found = index.search(queries, k)
        expected = nearest(true, ids, metric, k)
        np.testing.assert_array_equal(found, expected)
        place = {number: slot for slot, number in enumerate(ids.tolist())}
        slots = np.vectorize(place.get)(expected)
        np.testing.assert_array_equal(distances, np.take_along_axis(true, slots, axis=1))
    radius = float(np.median(true))
    limits, distances, found = index.range_search(queries, radius)
    for query, line in enumerate(true):
        within = line < radius if metric == "l2" else line > radius
        part = slice(limits[query], limits[query + 1])
        np.testing.assert_array_equal(found[part], nearest(line[within][None], ids[within], metric, 700)[0])


@pytest.mark.parametrize("dim", [1, 5, 64, 333])
def test_real_numbers_are_searched_to_rounding(level, dim):
    rows, queries = gaussian(500, dim), gaussian(20, dim, seed=1)
    for metric in METRICS:
        index = inlay.FlatIndex(dim, metric)
        index.add(rows)
        true = values(queries, rows, metric)
        distances, ids = index.search(queries, 30)
        assert_in_order(distances, ids, metric, 500)
        best = np.sort(true, axis=1)[:, :30] if metric == "l2" else -np.sort(-true, axis=1)[:, :30]
        for wanted in (np.take_along_axis(true, ids, axis=1), best):
            np.testing.assert_allclose(distances, wanted, rtol=1e-5, atol=1e-6 * dim)


def test_rows_are_kept_to_the_last_bit(rng):
    sizes = np.geomspace(1e-18, 1e15, 300)[:, None]
    rows = (rng.standard_normal((300, 17)) * sizes).astype(np.float32)
    for metric in ("l2", "ip"):
        index = inlay.FlatIndex(17, metric)
        index.add(rows)
        np.testing.assert_array_equal(index.reconstruct(range(300)), rows)
    index = inlay.FlatIndex(17, "cosine")
    index.add(rows)
    np.testing.assert_allclose(index.reconstruct(range(300)), lengths_one(rows.astype("f8")), rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(index.reconstruct(range(300)), axis=1), 1, rtol=1e-6)


def test_a_row_is_at_distance_zero_from_itself_and_first(rng):
    for scale in (1e-15, 1.0, 1e15):
        rows = (rng.standard_normal((400, 24)) * scale).astype(np.float32)
        index = inlay.FlatIndex(24)
        index.add(rows)
        distances, ids = index.search(rows, 2)
        np.testing.assert_array_equal(ids[:, 0], np.arange(400))
        assert not distances[:, 0].any()
        assert (distances[:, 1] > 0).all()


def test_cosine_sees_directions_only(rng):
    rows = rng.standard_normal((200, 12)).astype(np.float32)
    lengths = 10.0 ** rng.integers(-15, 15, (200, 1))
    plain, scaled = inlay.FlatIndex(12, "cosine"), inlay.FlatIndex(12, "cosine")
    plain.add(rows)
    scaled.add((rows * lengths).astype(np.float32))
    queries = gaussian(9, 12)
    expected = plain.search(queries, 200)
    distances, ids = scaled.search(queries * np.float32(1e12), 200)
    np.testing.assert_array_equal(ids, expected[1])
    np.testing.assert_allclose(distances, expected[0], atol=1e-6)
    assert np.abs(distances).max() <= 1 + 1e-6


def test_zeros_of_both_signs_are_one_value():
    index = inlay.FlatIndex(2, "ip")
    index.add([[0.0, 1.0], [-0.0, 1.0], [0.0, -1.0]], [5, 3, 4])
    distances, ids = index.search([[1.0, 0.0], [-1.0, 0.0]], 3)
    assert ids.tolist() == [[3, 4, 5]] * 2
    assert not distances.any()


def test_bytes_are_four_a_number_and_what_the_ids_take():
    index = inlay.FlatIndex(33)
    assert (index.nbytes, index.nbytes_hot, index.nbytes_cold) == (0, 0, 0)
    index.add(gaussian(1000, 33))
    assert (index.nbytes, index.nbytes_hot, index.nbytes_cold) == (132_000, 132_000, 0)
    index = inlay.FlatIndex(33)
    index.add(gaussian(1000, 33), np.arange(1000)[::-1])
    assert index.nbytes == 132_000 + 8 * 1000
    assert 5 in index  # makes the table from id to row: int32, at most two thirds full
    assert index.nbytes == 132_000 + 8 * 1000 + 4 * 2048
    index.compact()
    assert index.nbytes == 132_000 + 8 * 1000


def test_it_has_no_options_and_needs_no_training():
    index = inlay.FlatIndex(3)
    assert (index.is_trained, index.options, index.EFFORT, index.OPTIONS) == (True, {}, (), ())
    index.train([[1.0, 2.0, 3.0]])
    assert index.to_bytes() == inlay.FlatIndex(3).to_bytes()
    with pytest.raises(TypeError, match="bits"):
        inlay.FlatIndex(3, bits=8)
