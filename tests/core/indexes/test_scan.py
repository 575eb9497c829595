"""The exhaustive scan: the same best rows, however queries, rows and filters are cut into pieces."""

import numpy as np
import pytest
from core.indexes.forms import gaussian

import inlay
from inlay.codecs.lvq import LVQCodec
from inlay.codecs.plain import PlainCodec
from inlay.ids import Bits
from inlay.indexes import scan
from inlay.kernels import table

DIM = 5
# Around a run of rows for 64 queries (256) and for one (4,096), a word of a filter, and a block of 16.
SIZES = (1, 15, 17, 63, 65, 255, 256, 257, 511, 1000, 4095, 4096, 4097)


def plain(rows, squared_l2=True):
    codec = PlainCodec(rows.shape[1], squared_l2)
    return codec, codec.encode(rows)


def expected(scores, k, mask=None, ids=None):
    """(scores, ids) of the k best of each line by score, then id."""
    n = scores.shape[1]
    ids = np.arange(n) if ids is None else ids
    slots = np.arange(n) if mask is None else np.flatnonzero(mask)
    best, found = np.full((len(scores), k), np.inf, np.float32), np.full((len(scores), k), -1)
    for line, score in enumerate(scores):
        order = slots[np.lexsort((ids[slots], score[slots]))][:k]
        best[line, : len(order)], found[line, : len(order)] = score[order], ids[order]
    return best, found


def assert_same(found, wanted):
    np.testing.assert_array_equal(found[1], wanted[1])
    np.testing.assert_array_equal(found[0], wanted[0])


@pytest.mark.parametrize("n_queries", [1, 2, 3, 63, 64, 65, 130])
@pytest.mark.parametrize("workers", [1, 3])
def test_the_best_rows_are_found_wherever_they_lie(n_queries, workers):
    for n in SIZES if n_queries < 60 else SIZES[::3]:
        # Two decimals, so that there are ties everywhere.
        rows, queries = gaussian(n, DIM).round(1), gaussian(n_queries, DIM, seed=1).round(1)
        codec, codes = plain(rows)
        scorer = codec.scorer(queries, codes, workers)
        scores = table.scores(queries, rows, "l2")
        for k in (1, 10, n + 2):
            found = scan.search(scorer, None, n, k, k, None, None, 0, workers)
            assert_same(found, expected(scores, k))
        ids = np.random.default_rng(n).permutation(n) - 7
        mask = np.random.default_rng(n).random(n) < 0.4
        found = scan.search(scorer, None, n, 10, 10, Bits(mask), ids, 0, workers)
        assert_same(found, expected(scores, 10, mask, ids))
        found = scan.search(scorer, None, n, 3, 3, None, None, 100, workers)
        assert_same(found, expected(scores, 3, ids=np.arange(n) + 100))


def patterns(n):
    """Filters that start, end and break at every kind of place."""
    at = np.arange(n)
    yield from (at == place for place in (0, 15, 16, 63, 64, 255, 256, n - 17, n - 16, n - 1))
    yield from (at < 16, at >= n - 1, at % 16 == 15, at // 16 % 2 == 0, at // 64 % 3 == 1, at // 256 % 2 == 1)
    yield from ((at > 100) & (at < 4100), at % 1000 == 999, at >= 0, at < 0)


@pytest.mark.parametrize("n", [4096, 4111, 9001])
def test_a_filter_may_begin_and_end_anywhere(n, level):
    rows, queries = gaussian(n, DIM), gaussian(65, DIM, seed=1)
    codec, codes = plain(rows)
    for number in (1, 65):
        scorer = codec.scorer(queries[:number], codes, 2)
        scores = table.scores(queries[:number], rows, "l2")
        for mask in patterns(n):
            found = scan.search(scorer, None, n, 6, 6, Bits(mask), None, 0, 2)
            assert_same(found, expected(scores, 6, mask))


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 7])
def test_one_query_is_spread_over_threads_without_a_trace(workers):
    # Whole numbers on few places: thousands of ties, in every part, and the lowest ids lie in the last one.
    n = 16384 * 5 + 33
    rows = np.random.default_rng(0).integers(0, 4, (n, 3)).astype(np.float32)
    ids = np.arange(n)[::-1].copy()
    codec, codes = plain(rows)
    mask = np.random.default_rng(1).random(n) < 0.01
    for n_queries in (1, 3, 64, 65):
        queries = rows[:n_queries]
        scorer = codec.scorer(queries, codes, workers)
        scores = table.scores(queries, rows, "l2")
        for k in (1, 100) if n_queries < 60 else (20,):
            found = scan.search(scorer, None, n, k, k, None, ids, 0, workers)
            assert_same(found, expected(scores, k, ids=ids))
            found = scan.search(scorer, None, n, k, k, Bits(mask), None, 5, workers)
            assert_same(found, expected(scores, k, mask, np.arange(n) + 5))


@pytest.mark.parametrize("squared_l2", [True, False])
def test_candidates_are_scored_again_and_the_best_of_them_stay(squared_l2):
    n = 3000
    rows, queries = gaussian(n, 32), gaussian(40, 32, seed=1)
    exact, exact_codes = plain(rows, squared_l2)
    coarse = LVQCodec(32, squared_l2, 4, 0, 1, 7)
    coarse.train(rows)
    scanner = coarse.scorer(queries, coarse.encode(rows), 2)
    last = exact.scorer(queries, exact_codes, 2)
    scores = table.scores(queries, rows, "l2" if squared_l2 else "ip")
    _, by_scan = scan.search(scanner, None, n, n, n, None, None, 0, 2)
    for k, candidates in ((1, 1), (5, 5), (5, 40), (10, 300), (7, 5000)):
        found = scan.search(scanner, last, n, k, candidates, None, None, 0, 2)
        for query in range(40):
            mask = np.zeros(n, bool)
            mask[by_scan[query, :candidates]] = True
            one = slice(query, query + 1)
            assert_same([part[one] for part in found], expected(scores[one], k, mask))


def test_a_row_on_a_coarse_grid_is_scored_again_however_many_fine_ones_come_first():
    # Every query's best row stands out in a dimension that no query has: its estimate says little.
    rows, queries = gaussian(20_000, 64), gaussian(200, 64, seed=1)
    queries[:, 0] = 0
    rows[::100] = 0.7 * queries
    rows[::100, 0] = 40
    exact = inlay.FlatIndex(64, "ip")
    exact.add(rows)
    index = inlay.LVQIndex(64, "ip", bits=4, residual_bits=0, rotation=False, vectors="float32")
    index.add(rows)
    best = exact.search(queries, 5)[1]
    assert (best[:, 0] == 100 * np.arange(200)).mean() > 0.9
    found = index.search(queries, 5, rerank=20_000)[1]
    # Slack is three deviations: one row in some thousands may be given up wrongly.
    assert np.mean([len(np.intersect1d(a, b)) / 5 for a, b in zip(found, best, strict=True)]) >= 0.995


@pytest.mark.parametrize("n", [1, 255, 256, 257, 1000])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_range_holds_every_row_below_its_radius(n, workers):
    rows, queries = gaussian(n, DIM).round(1), gaussian(9, DIM, seed=1).round(1)
    codec, codes = plain(rows)
    scorer = codec.scorer(queries, codes, workers)
    scores = table.scores(queries, rows, "l2")
    ids = np.random.default_rng(n).permutation(n) * 2
    mask = np.arange(n) % 3 == 0
    # Radii that are scores of rows: the row itself is outside.
    radii = np.ascontiguousarray(np.sort(scores, axis=1)[:, n // 2])
    for bits, allowed in ((None, np.ones(n, bool)), (Bits(mask), mask)):
        limits, found, labels = scan.range_search(scorer, n, radii, bits, ids, 0, workers)
        for query in range(9):
            within = np.flatnonzero((scores[query] < radii[query]) & allowed)
            wanted = within[np.lexsort((ids[within], scores[query, within]))]
            part = slice(limits[query], limits[query + 1])
            np.testing.assert_array_equal(labels[part], ids[wanted])
            np.testing.assert_array_equal(found[part], scores[query, wanted])


def test_nothing_to_search_gives_nothing():
    rows = gaussian(10, DIM)
    codec, codes = plain(rows)
    none = codec.scorer(np.empty((0, DIM), np.float32), codes, 1)
    assert [part.shape for part in scan.search(none, None, 10, 3, 3, None, None, 0, 1)] == [(0, 3), (0, 3)]
    empty = codec.new_codes()
    scores, ids = scan.search(codec.scorer(rows, empty, 1), None, 0, 3, 3, None, None, 0, 1)
    assert (scores == np.inf).all()
    assert (ids == -1).all()
    radii = np.ones(10, np.float32)
    limits, _, _ = scan.range_search(codec.scorer(rows, empty, 1), 0, radii, None, None, 0, 1)
    assert limits.tolist() == [0] * 11
