"""A search is a walk, or a look at every allowed row; both honour filters, ties and the last word."""

import numpy as np
import pytest
from core.graph.exact import (
    any_places,
    codes_of,
    found_by,
    graph_of,
    kinds,
    rows_of,
    seeds,
    tidy_places,
)
from hypothesis import given
from hypothesis import strategies as st

import reference_graph as reference
from inlay.codecs.plain import PlainCodec
from inlay.graph.search import range_search, search
from inlay.ids import Bits
from reference_graph import NONE


def exact(rows, query):
    return np.square(rows - query).sum(axis=1, dtype=np.float32)


def best(distances, slots, k):
    """The k nearest of slots: (distances, slots), missing ones at the end."""
    found = sorted((float(distances[slot]), int(slot)) for slot in slots)[:k]
    found += [(np.inf, -1)] * (k - len(found))
    return [distance for distance, _ in found], [slot for _, slot in found]


shares = st.sampled_from([0.02, 0.1, 0.5, 0.9])


@given(seeds, kinds, st.integers(60, 400), st.integers(2, 5), st.integers(1, 6), shares, st.booleans())
def test_a_filter_widens_the_beam_or_every_allowed_row_is_looked_at(seed, kind, n, degree, k, share, tidy):
    rng = np.random.default_rng(seed)
    rows = rows_of(kind, n, 2, seed)
    places = (tidy_places if tidy else any_places)(n, degree, seed)
    allowed = rng.random(n) < share
    ef = k + int(rng.integers(4))
    graph = graph_of(places, [0, n // 2])
    query = rows[rng.integers(n)]
    distances, slots, expanded, evaluated = found_by(graph, rows, query[None], k, ef, allowed)
    known = exact(rows, query)
    expected = best(known, np.flatnonzero(allowed), k)
    if not allowed.any():
        assert (expanded, evaluated) == (0, 0)
    elif not expanded:
        assert evaluated == allowed.sum()
    else:
        width = int(ef * (n / allowed.sum()))
        beam, steps, scored = reference.walk(places, [0, n // 2], lambda some: known[list(some)], width)
        met = [slot for _, slot in beam if allowed[slot]]
        assert expanded == steps
        if len(met) >= min(k, allowed.sum()):
            expected = best(known, met, k)
            assert evaluated == scored
        else:
            assert evaluated == scored + allowed.sum()
    np.testing.assert_array_equal(distances[0], expected[0])
    np.testing.assert_array_equal(slots[0], expected[1])
    assert (slots >= 0).sum() == min(k, allowed.sum())


@pytest.mark.parametrize("n", [1, 63, 64, 65, 1000])
def test_a_beam_of_all_rows_finds_the_nearest_of_all(n):
    for kind in ("numbers", "copies", "equal"):
        rows = rows_of(kind, n, 3, n)
        queries = rows_of("numbers", 5, 3, 1)
        for places in (tidy_places(n, 3, 0), np.full((n, 3), NONE, np.uint32), any_places(n, 3, 0, 0.1)):
            for k, ef in ((1, n), (10, n), (n, 1), (n + 5, 1), (3, 1 << 40)):
                distances, slots, *_ = found_by(graph_of(places, [0]), rows, queries, k, ef)
                for query, one, other in zip(queries, distances, slots, strict=True):
                    expected = best(exact(rows, query), range(n), k)
                    np.testing.assert_array_equal(one, expected[0])
                    np.testing.assert_array_equal(other, expected[1])


@pytest.mark.parametrize("k", [2, 5, 100, 219])
def test_a_walk_that_ends_too_early_is_followed_by_a_look_at_all(k):
    """Only a damaged file has such links; the beam must hold what that look gathers."""
    n = 3000
    rows = rows_of("numbers", n, 3, 0)
    queries = rows_of("numbers", 3, 3, 1)
    for allowed in (None, np.arange(n) % 2 == 0):
        graph = graph_of(np.full((n, 2), NONE, np.uint32), [7])
        distances, slots, expanded, _ = found_by(graph, rows, queries, k, k, allowed)
        assert expanded == 3
        some = range(n) if allowed is None else np.flatnonzero(allowed)
        for query, one, other in zip(queries, distances, slots, strict=True):
            expected = best(exact(rows, query), some, k)
            np.testing.assert_array_equal(one, expected[0])
            np.testing.assert_array_equal(other, expected[1])


def test_ties_go_to_the_lower_id_wherever_the_rows_lie():
    rng = np.random.default_rng(0)
    for n, ef in ((40, 40), (400, 30)):
        rows = rows_of("equal", n, 3, 0)
        codec, codes = codes_of(rows)
        ids = rng.permutation(n).astype(np.int64) * 3 - 50
        graph = graph_of(tidy_places(n, 8, 0, 1.0), range(n))
        for allowed in (None, rng.random(n) < 0.7):
            bits = None if allowed is None else Bits(allowed)
            scorer = codec.scorer(rows[:2], codes, 1)
            _, found = search(graph, scorer, None, ef, n, 0, bits, ids, 0, n, 1)
            some = ids if allowed is None else ids[allowed]
            np.testing.assert_array_equal(found[0][: len(some)], np.sort(some)[:ef])
    # Without ids they run on from a base.
    _, found = search(graph, scorer, None, 4, n, 0, None, None, -7, n, 1)
    assert found.tolist() == [[-7, -6, -5, -4]] * 2


def two_words(rows, noise):
    """A codec and codes of roughly these rows, and the same of the rows themselves."""
    rough = np.round(rows + np.random.default_rng(0).integers(-noise, noise + 1, rows.shape)).astype(
        np.float32
    )
    return *codes_of(rough), *codes_of(rows)


@pytest.mark.parametrize("n", [20, 700])
@pytest.mark.parametrize("ef", [8, 20])
def test_the_last_word_is_had_by_the_last(n, ef):
    rows, queries = rows_of("numbers", n, 4, 0), rows_of("numbers", 6, 4, 1)
    codec, codes, exact_codec, exact_codes = two_words(rows, 2)
    graph = graph_of(tidy_places(n, 5, 0), range(5))
    near, last = codec.scorer(queries, codes, 1), exact_codec.scorer(queries, exact_codes, 1)
    for k in (1, 4, 8):
        seen = search(graph, near, None, ef, ef, 0, None, None, 0, n, 1)[1]
        for candidates in (0, k, 13, 1 << 20):
            distances, found = search(graph, near, last, k, ef, candidates, None, None, 0, n, 1)
            for query, met, one, other in zip(queries, seen, distances, found, strict=True):
                met = met[: max(k, candidates)]
                expected = best(exact(rows, query), met[met >= 0], k)
                np.testing.assert_array_equal(one, expected[0])
                np.testing.assert_array_equal(other, expected[1])


def test_scores_that_are_no_numbers_are_no_results():
    n = 500
    rows = rows_of("numbers", n, 3, 0)
    bad = rows.copy()
    bad[::2] = np.nan
    whole, bad_codec = codes_of(rows), codes_of(bad)
    queries = rows_of("numbers", 4, 3, 1)
    for ef, degree in ((5, 4), (5, 40), (n, 4)):
        graph = graph_of(tidy_places(n, degree, 0), range(22))
        good, wrong = (codec.scorer(queries, codes, 1) for codec, codes in (whole, bad_codec))
        for near, last in ((wrong, None), (good, wrong), (wrong, good), (wrong, wrong)):
            distances, slots = search(graph, near, last, 5, ef, 5, None, None, 0, n, 1)
            assert not np.isnan(distances).any()
            assert (slots[slots >= 0] % 2 == 1).all()
            assert (np.diff(slots[:, ::-1] >= 0) >= 0).all()
        nothing = np.full_like(rows, np.nan)
        codec = PlainCodec(3, True)
        scorer = codec.scorer(queries, codec.encode(nothing), 1)
        distances, slots = search(graph, scorer, None, 5, ef, 0, None, None, 0, n, 1)
        assert (distances == np.inf).all()
        assert (slots == -1).all()


def test_infinite_scores_are_results_all_the_same():
    n = 500
    codec = PlainCodec(2, True)
    rows = np.full((n, 2), 3e38, np.float32)
    codes = codec.encode(rows)
    graph = graph_of(tidy_places(n, 4, 0), [0])
    distances, slots = search(graph, codec.scorer(-rows[:2], codes, 1), None, 6, 6, 0, None, None, 0, n, 1)
    assert (distances == np.inf).all()
    assert ((slots >= 0) & (slots < n)).all()
    assert all(len(set(line)) == 6 for line in slots.tolist())


def ranges(graph, rows, queries, radii, ef, allowed=None, threads=1):
    codec, codes = codes_of(rows)
    scorer = codec.scorer(queries, codes, threads)
    bits = None if allowed is None else Bits(allowed)
    radii = np.array(radii, np.float32)
    return range_search(graph, scorer, scorer, radii, ef, bits, None, 0, len(rows), threads)


@given(seeds, kinds, st.integers(1, 300), st.integers(2, 6), st.integers(1, 20), st.booleans())
def test_a_range_search_finds_nothing_that_is_not_within(seed, kind, n, degree, ef, filtered):
    rng = np.random.default_rng(seed)
    rows = rows_of(kind, n, 2, seed)
    queries = rows_of(kind, 4, 2, seed + 1)
    radii = [0, 1, 60, np.inf]
    allowed = rng.random(n) < 0.5 if filtered else None
    graph = graph_of(any_places(n, degree, seed), [0])
    limits, distances, slots = ranges(graph, rows, queries, radii, ef, allowed)
    assert limits[0] == 0
    for query, first, last, radius in zip(queries, limits[:-1], limits[1:], radii, strict=True):
        known, some = exact(rows, query), slots[first:last]
        np.testing.assert_array_equal(distances[first:last], known[some])
        assert (known[some] < radius).all()
        assert filtered is False or allowed[some].all()
        assert sorted(some.tolist(), key=lambda slot: (known[slot], slot)) == some.tolist()
        assert len(set(some.tolist())) == len(some)
    # Whatever the links: where everything is within, everything is looked at.
    assert limits[4] - limits[3] == (n if allowed is None else allowed.sum()) or n > 8 * ef


def test_a_range_search_is_complete_on_a_graph_that_leads_everywhere():
    rows = rows_of("line", 2000, 1, 0)
    order = np.argsort(rows[:, 0])
    places = np.full((2000, 2), NONE, np.uint32)
    places[order[:-1], 0] = order[1:]
    places[order[1:], 1] = order[:-1]
    places[order[0]] = [order[1], NONE]
    queries = np.array([[0], [700], [1999], [1000]], np.float32)
    graph = graph_of(places, [0])
    for threads in (1, 4):
        limits, distances, _ = ranges(graph, rows, queries, [26, 101, 10001, 5e5], 16, threads=threads)
        # Differences up to 5, 10, 100 and 707, to one side or both.
        assert np.diff(limits).tolist() == [6, 21, 101, 1 + 2 * 707]
        assert distances.max() == 707 * 707
    nothing = ranges(graph, rows, queries[:0], [], 16)
    assert nothing[0].tolist() == [0]
    none = ranges(graph, rows, queries, [9] * 4, 16, np.zeros(2000, bool))
    assert none[0].tolist() == [0] * 5


def test_slots_without_ids_are_no_results():
    """Behind the rows there may be more, of a change that was interrupted: links to them lead nowhere."""
    rows = rows_of("numbers", 300, 3, 0)
    codec, codes = codes_of(rows)
    graph = graph_of(tidy_places(300, 5, 0), [0, 1])
    for ef in (5, 300):
        scorer = codec.scorer(rows[250:260], codes, 1)
        slots = search(graph, scorer, None, 5, ef, 0, None, None, 0, 200, 1)[1]
        assert ((slots >= 0) & (slots < 200)).all()
        radii = np.full(10, 1e9, np.float32)
        limits, _, within = range_search(graph, scorer, scorer, radii, ef, None, None, 0, 200, 1)
        assert within.max() < 200
        assert (np.diff(limits) == 200).all()
