"""What every index promises about searching, whatever its family: see `forms.py` for who is held to it."""

import numpy as np
import pytest
from core.indexes.forms import (
    EVERY_ROW,
    FORMS,
    METRICS,
    SPECS,
    Form,
    assert_in_order,
    assert_nearest,
    gaussian,
    held,
    lengths_one,
)

import inlay
from inlay import IdFilter

SIZES = (0, 1, 15, 16, 17, 31, 33)
DIMS = (1, 7, 63, 65, 1000)
BATCHES = (1, 2, 3, 8, 9, 64, 65, 200)


@pytest.fixture
def rows() -> np.ndarray:
    return gaussian(333, 21)


@pytest.fixture
def queries() -> np.ndarray:
    return gaussian(7, 21, seed=1)


def shuffled_ids(n, seed=5):
    """Ids that do not run on from a base, of both signs and sizes."""
    return np.random.default_rng(seed).permutation(n).astype(np.int64) * 10_000_000_019 - 3 * n


def same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


# Searching


@pytest.mark.parametrize("n", SIZES)
def test_any_number_of_rows_is_searched_whole(form, metric, n):
    index = form.filled(gaussian(n, 12), metric)
    queries = gaussian(3, 12, seed=1)
    for k in (1, max(n - 1, 1), max(n, 1), n + 1, n + 40):
        assert_nearest(form, index, queries, index.search(queries, k, **form.exhaustive))
        distances, ids = index.search(queries, k)
        assert ids.shape == (3, k)
        assert_in_order(distances, ids, metric, n)


@pytest.mark.parametrize("dim", DIMS)
def test_any_number_of_dimensions_is_searched(form, metric, dim):
    index = form.filled(gaussian(50, dim), metric)
    queries = gaussian(9, dim, seed=1)
    assert_nearest(form, index, queries, index.search(queries, 10, **form.exhaustive))
    assert_in_order(*index.search(queries, 10), metric, 50)


def test_exact_forms_give_the_rows_that_were_added(form, metric, rows):
    index = form.filled(rows, metric)
    if form.exact:
        stored = lengths_one(rows.astype(np.float64)) if metric == "cosine" else rows
        np.testing.assert_allclose(held(index), stored, rtol=1e-6, atol=1e-8)
        if metric != "cosine":
            np.testing.assert_array_equal(held(index), rows)


def test_a_search_of_nothing_finds_nothing(form, metric, rows, queries):
    for index in (form.untrained(21, metric), form.empty(21, metric)):
        distances, ids = index.search(queries, 3)
        assert_in_order(distances, ids, metric, 0)
        assert ids.shape == (7, 3)
        limits, distances, ids = index.range_search(queries, 1e30 if metric == "l2" else -1e30)
        assert limits.tolist() == [0] * 8
        assert (distances.dtype, ids.dtype, len(ids)) == (np.float32, np.int64, 0)
    index = form.filled(rows, metric)
    for none in ([], np.empty((0, 21), np.float32)):
        assert [part.shape for part in index.search(none, 3)] == [(0, 3), (0, 3)]
        assert [part.shape for part in index.range_search(none, 1.0)] == [(1,), (0,), (0,)]
        assert [part.shape for part in index.search_and_reconstruct(none, 3)] == [(0, 3), (0, 3), (0, 3, 21)]


def test_one_vector_is_a_batch_of_one(form, metric, rows, queries):
    index = form.filled(rows, metric)
    same(index.search(queries[0], 5), index.search(queries[:1], 5))
    same(index.range_search(queries[0], 0.5), index.range_search(queries[:1], 0.5))
    same(index.search_and_reconstruct(queries[0], 5), index.search_and_reconstruct(queries[:1], 5))


@pytest.mark.parametrize("filtered", [False, True])
def test_an_answer_does_not_depend_on_the_batch_it_came_in(form, metric, filtered):
    index = form.filled(gaussian(500, 33), metric)
    queries = gaussian(200, 33, seed=1)
    allowed = np.arange(500) % 3 != 1 if filtered else None
    for effort in ({}, form.exhaustive):
        whole = index.search(queries, 11, allowed=allowed, **effort)
        for size in BATCHES:
            # Every batch at another place, so that its groups are cut differently.
            first = (200 - size) // 2 | 1 if size < 200 else 0
            part = slice(first, first + size)
            found = index.search(queries[part], 11, allowed=allowed, **effort)
            same(found, [one[part] for one in whole])
    limits, *everything = index.range_search(queries, 30.0 if metric == "l2" else 0.2, allowed=allowed)
    for query in (0, 7, 63, 64, 199):
        alone = index.range_search(queries[query], 30.0 if metric == "l2" else 0.2, allowed=allowed)
        same(alone[1:], [one[limits[query] : limits[query + 1]] for one in everything])


@pytest.mark.parametrize("n", [1, 5, 200])
def test_an_answer_does_not_depend_on_the_number_of_threads(form, metric, threads, n):
    index = form.filled(gaussian(700, 19), metric)
    queries = gaussian(n, 19, seed=1)
    mask = np.arange(700) % 2 == 0
    answers = []
    for count in (1, 2, 3, 7):
        threads(count)
        answers.append(
            [
                *index.search(queries, 9),
                *index.search(queries, 9, allowed=mask),
                *index.range_search(queries, 0.1 if metric != "l2" else 25.0),
                held(index),
            ]
        )
    for other in answers[1:]:
        same(other, answers[0])


def test_an_answer_is_right_at_every_cpu_level(form, metric, level, rows, queries):
    index = form.filled(rows, metric)
    assert_nearest(form, index, queries, index.search(queries, 15, **form.exhaustive))
    whole = index.search(queries, 15)
    for query in range(len(queries)):
        same(index.search(queries[query], 15), [part[query : query + 1] for part in whole])


@pytest.mark.parametrize("size", [1e-37, 1e-20, 1e-10, 1e10, 1e18])
def test_rows_of_any_size_are_found(form, metric, size):
    if size > form.largest:
        pytest.skip("rows of this form hold no numbers of this size")
    rows, queries = (gaussian(n, 20, seed=n) * np.float32(size) for n in (200, 9))
    index = form.filled(rows, metric)
    for effort in ({}, form.exhaustive):
        assert_in_order(*index.search(queries, 250, **effort), metric, 200)


# Ties


@pytest.mark.parametrize("n", [5, 16, 100, 1500])
def test_equal_rows_come_by_lower_id(form, metric, n):
    row = gaussian(1, 10, seed=3)
    ids = shuffled_ids(n)
    index = form.empty(10, metric)
    index.add(np.repeat(row, n, axis=0), ids)
    wanted = np.sort(ids)
    queries = np.vstack([row, gaussian(3, 10, seed=1)])
    for effort in (form.exhaustive,) if form.walks and n > 100 else ({}, form.exhaustive):
        for k in (1, 4, n):
            assert (index.search(queries, k, **effort)[1] == wanted[:k]).all()
        gone = np.random.default_rng(n).permutation(wanted)[: n // 3]
        left = np.setdiff1d(wanted, gone)
        after = type(index).from_bytes(index.to_bytes())
        assert after.remove(gone) == len(gone)
        assert (after.search(queries, len(left), **effort)[1] == left).all()
        assert (after.search(queries, 2, **effort)[1] == left[:2]).all()
        limits, _, found = after.range_search(queries, np.inf if metric == "l2" else -np.inf)
        assert (found.reshape(len(queries), -1) == left).all()
        assert (np.diff(limits) == len(left)).all()


def test_duplicates_among_others_come_by_lower_id(form, metric):
    few = gaussian(40, 10, seed=3)
    order = np.random.default_rng(2).integers(0, 40, 400)
    index = form.filled(few[order], metric, shuffled_ids(400))
    for effort in ({}, form.exhaustive):
        for k in (3, 17, 200, 400):
            assert_in_order(*index.search(few[:9], k, **effort), metric, 400)


@pytest.mark.parametrize("rerank", [0, 1, 5])
def test_estimates_are_in_order_too(metric, rerank):
    # Estimates between rows that are close together round to the same, and those of a squared distance lie
    # below zero when the rows' middle is far away.
    close = gaussian(300, 16) * 1e-3
    for rows in (100 + close, 100 * np.where(np.arange(300) % 2, 1, -1)[:, None] + close):
        for spec in ("LVQ4", "LVQ8", "LVQ4x8"):
            index = inlay.from_spec(spec, 16, metric)
            index.add(rows, shuffled_ids(300))
            assert_in_order(*index.search(rows[:50], 40, rerank=rerank), metric, 300)


def test_a_query_of_zeros_ties_with_every_row_by_inner_product(form, rows):
    ids = shuffled_ids(len(rows))
    for metric in ("ip", "cosine"):
        distances, found = form.filled(rows, metric, ids).search(np.zeros(21), 10, **form.exhaustive)
        assert (distances == 0).all()
        assert not np.signbit(distances).any()
        np.testing.assert_array_equal(found[0], np.sort(ids)[:10])


def test_a_row_of_zeros_has_no_direction(form, rows, queries):
    rows[100] = 0
    index = form.filled(rows, "cosine")
    assert_nearest(form, index, queries, index.search(queries, 333, **form.exhaustive))
    if form.exact:
        assert not index.reconstruct(100).any()
        distances, ids = index.search(queries, 333, **form.exhaustive)
        assert (distances[ids == 100] == 0).all()


# Filters


@pytest.mark.parametrize("share", [0.003, 0.03, 0.5, 0.97])
@pytest.mark.parametrize("scattered", [False, True])
def test_a_filter_is_honoured_inside_the_search(form, metric, queries, share, scattered):
    n = 900
    ids = shuffled_ids(n) if scattered else None
    index = form.filled(gaussian(n, 21), metric, ids)
    mask = np.random.default_rng(4).random(n) < share
    mask[n - 1] = True
    wanted = index.ids[mask]
    unknown = [10**15, -7, int(wanted.max()) + 1]
    for k in (1, 10, int(mask.sum()) + 2):
        by_mask = index.search(queries, k, allowed=mask, **form.exhaustive)
        assert_nearest(form, index, queries, by_mask, allowed=mask)
        given = np.concatenate([wanted[::-1], wanted[:3], unknown])
        same(index.search(queries, k, allowed=given, **form.exhaustive), by_mask)
        same(index.search(queries, k, allowed=IdFilter(given), **form.exhaustive), by_mask)
        distances, found = index.search(queries, k, allowed=mask)
        assert_in_order(distances, found, metric, int(mask.sum()))
        assert np.isin(found[found != -1], wanted).all()


def test_a_filter_that_allows_all_or_nothing(form, metric, rows, queries):
    index = form.filled(rows, metric, shuffled_ids(333))
    everything = index.search(queries, 8)
    for allowed in (index.ids, np.ones(333, bool), IdFilter(index.ids), index.ids.tolist(), None):
        same(index.search(queries, 8, allowed=allowed), everything)
    for allowed in ([], np.zeros(333, bool), IdFilter([]), [12345], np.empty(0, np.int32)):
        assert_in_order(*index.search(queries, 8, allowed=allowed), metric, 0)
        assert index.range_search(queries, 0.0, allowed=allowed)[0][-1] == 0


def test_a_filter_object_follows_what_it_is_used_with(form, rows, queries):
    filter_of_ids = IdFilter(range(0, 5000, 2))
    first, second = form.filled(rows), form.filled(rows[:200])
    for index in (first, second, first):
        for _ in range(2):
            mask = index.ids % 2 == 0
            same(index.search(queries, 50, allowed=filter_of_ids), index.search(queries, 50, allowed=mask))
    for change in (
        lambda: first.remove(np.arange(0, 100)),
        lambda: first.add(rows[:50]),
        lambda: first.upsert(rows[:9], np.arange(90, 99)),
        lambda: first.compact(),
        lambda: first.reset(),
        lambda: first.add(rows, np.arange(333)),
    ):
        change()
        mask = first.ids % 2 == 0
        same(first.search(queries, 50, allowed=filter_of_ids), first.search(queries, 50, allowed=mask))


# Ranges


@pytest.mark.parametrize("filtered", [False, True])
def test_a_range_search_finds_all_within_the_radius(form, metric, queries, filtered):
    n = 600
    index = form.filled(gaussian(n, 21), metric, shuffled_ids(n))
    if form.walks:
        index.ef = n
    true = form.values(index, queries)
    mask = np.arange(n) % 5 == 2 if filtered else np.ones(n, bool)
    sign = 1 if metric == "l2" else -1
    for share in (0.0, 0.02, 0.5, 1.0):
        # Halfway between two values, so that rounding cannot decide.
        ordered = np.sort(sign * true, axis=None)
        at = int(share * (ordered.size - 1))
        radius = sign * (ordered[at] + ordered[min(at + 1, ordered.size - 1)]) / 2
        gaps = np.abs(true - radius).min(axis=1)
        limits, distances, ids = index.range_search(
            queries, radius, allowed=index.ids[mask] if filtered else None
        )
        assert (limits[0], limits[-1], limits.dtype) == (0, len(ids), np.int64)
        for query in np.flatnonzero(gaps > 1e-4):
            part = slice(limits[query], limits[query + 1])
            within = (true[query] < radius if metric == "l2" else true[query] > radius) & mask
            assert set(ids[part]) == set(index.ids[within])
            assert_in_order(distances[part][None], ids[part][None], metric, int(within.sum()))


def test_a_range_search_gives_what_a_search_gives(form, metric, rows, queries):
    index = form.filled(rows, metric, shuffled_ids(333))
    for endless in (1e300, np.inf):
        limits, distances, ids = index.range_search(queries, endless if metric == "l2" else -endless)
        assert (np.diff(limits) == 333).all()
        expected = index.search(queries, 333, **form.exhaustive)
        np.testing.assert_array_equal(ids.reshape(7, 333), expected[1])
        np.testing.assert_array_equal(distances.reshape(7, 333), expected[0])
    # The radius itself is outside.
    nearest = expected[0][0, 10]
    assert index.range_search(queries[0], nearest)[0][-1] == 10
    assert index.range_search(queries, 0.0 if metric == "l2" else np.inf)[0][-1] == 0


# What it holds


def test_reconstruct_answers_by_id(form, metric, rows):
    ids = shuffled_ids(333)
    index = form.filled(rows, metric, ids)
    everything = index.reconstruct(ids)
    assert (everything.dtype, everything.shape) == (np.float32, (333, 21))
    some = np.array([5, 300, 5, 0])
    np.testing.assert_array_equal(index.reconstruct(ids[some]), everything[some])
    np.testing.assert_array_equal(index.reconstruct(int(ids[7])), everything[7])
    np.testing.assert_array_equal(index.reconstruct(ids[7]), everything[7])
    assert index.reconstruct([]).shape == (0, 21)
    everything[:] = 0
    assert index.reconstruct(ids[3]).any()
    for unknown in ([int(ids[0]), 77], 77, [-1]):
        with pytest.raises(KeyError, match=r"id (77|-1) is not in the index"):
            index.reconstruct(unknown)


def test_search_and_reconstruct_gives_both(form, metric, rows, queries):
    index = form.filled(rows[:20], metric, shuffled_ids(20))
    distances, ids, found = index.search_and_reconstruct(queries, 25, allowed=index.ids[:4])
    same((distances, ids), index.search(queries, 25, allowed=index.ids[:4]))
    assert (found.dtype, found.shape) == (np.float32, (7, 25, 21))
    np.testing.assert_array_equal(found[:, :4], index.reconstruct(ids[:, :4].ravel()).reshape(7, 4, 21))
    assert np.isnan(found[:, 4:]).all()


def test_contains_and_len_and_ids_tell_what_is_there(form, rows):
    ids = shuffled_ids(333)
    index = form.filled(rows, ids=ids)
    np.testing.assert_array_equal(index.ids, ids)
    assert index.ids.dtype == np.int64
    index.ids[:] = 0  # a copy
    assert len(index) == 333
    assert index.contains([int(ids[3]), 5, int(ids[0])]).tolist() == [True, False, True]
    assert index.contains([]).tolist() == []
    assert int(ids[9]) in index
    assert ids[9] in index
    assert all(absent not in index for absent in (5, 2**70, -(2**70), "5", 1.0, None))


def test_options_and_spec_make_the_same_kind_again(form, metric):
    index = form.untrained(8, metric)
    assert index.spec == form.spec
    again = inlay.from_spec(index.spec, index.dim, index.metric, **form.options)
    assert (type(again), again.options, again.to_bytes()) == (type(index), index.options, index.to_bytes())
    assert all(index.options[name] == value for name, value in form.options.items())
    assert set(index.options) == set(type(index).OPTIONS)
    whole = type(index)(index.dim, index.metric, seed=index.seed, **index.options)
    assert whole.to_bytes() == index.to_bytes()
    assert (index.dim, index.metric, index.seed) == (8, metric, 0)


def test_repr_says_what_it_holds(form, rows):
    index = form.untrained(21, "ip")
    assert form.spec in repr(index)
    assert ("untrained" in repr(index)) == (not index.is_trained)
    index.add(rows)
    for part in (type(index).__name__, form.spec, "dim=21", "metric='ip'", "333 rows", "MB"):
        assert part in repr(index)
    assert "untrained" not in repr(index)


def test_adding_trains_what_is_untrained(form, metric, rows, queries):
    index = form.untrained(21, metric)
    assert len(index) == 0
    index.add(rows)
    assert index.is_trained
    assert_nearest(form, index, queries, index.search(queries, 10, **form.exhaustive))


def test_training_is_for_empty_indexes(form, rows):
    index = form.filled(rows)
    before = index.to_bytes()
    with pytest.raises(ValueError, match="holds rows already"):
        index.train(rows)
    assert index.to_bytes() == before
    index.reset()
    index.train(rows)


def test_every_spec_of_the_contract_is_known():
    tested = {form.spec for form in FORMS}
    assert set(SPECS) <= tested
    for spec in tested:
        assert inlay.from_spec(spec, 4).spec == spec
    for unknown in ("", "flat", "LVQ", "LVQ5", "LVQ8x2", "LVQ4x8 ", " Flat", "Flat,Flat", "LVQ4x8x8"):
        with pytest.raises(ValueError, match="unknown index spec"):
            inlay.from_spec(unknown, 4)
    for wrong in (None, 4, b"Flat"):
        with pytest.raises(TypeError, match="spec must be a string"):
            inlay.from_spec(wrong, 4)


def test_the_forms_cover_every_metric_and_the_efforts_are_known():
    assert METRICS == inlay.indexes.family.METRICS
    for form in FORMS:
        assert isinstance(form, Form)
        assert set(form.exhaustive) <= set(form.untrained(4).EFFORT)
    assert {form.exhaustive == EVERY_ROW for form in FORMS} == {True, False}
