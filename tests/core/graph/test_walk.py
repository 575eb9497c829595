"""A walk finds what the plain beam search finds, whatever the graph looks like."""

import numpy as np
import pytest
from core.graph.exact import (
    any_places,
    apart_in,
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
from inlay.graph.graph import Graph
from inlay.graph.search import search
from inlay.graph.walk import Walkers
from reference_graph import NONE


def walked(places, entries, rows, query, ef):
    """What the reference finds: distances, slots, expanded, evaluated."""
    score = lambda slots: np.square(rows[list(slots)] - query).sum(axis=1, dtype=np.float32)  # noqa: E731
    beam, expanded, evaluated = reference.walk(places, entries, score, ef)
    return [distance for distance, _ in beam], [slot for _, slot in beam], expanded, evaluated


@given(
    seeds,
    kinds,
    st.integers(60, 300),
    st.integers(1, 9),
    st.integers(2, 6),
    st.integers(1, 12),
    st.integers(1, 70),
    st.booleans(),
)
def test_a_walk_is_the_plain_beam_search(seed, kind, n, dim, degree, ef, n_entries, tidy):
    rng = np.random.default_rng(seed)
    rows = rows_of(kind, n, dim, seed)
    places = (tidy_places if tidy else any_places)(n, degree, seed)
    entries = rng.integers(0, n, n_entries)  # an entry may be named twice
    graph = graph_of(places, entries)
    queries = np.concatenate([rows[rng.integers(0, n, 2)], rows_of("numbers", 2, dim, seed + 1)])
    for query in queries:
        distances, slots, expanded, evaluated = walked(places, entries, rows, query, ef)
        found = found_by(graph, rows, query[None], min(ef, len(slots)), ef)
        if found[2] == 0:  # so few rows that all of them were looked at
            continue
        np.testing.assert_array_equal(found[0][0], distances)
        np.testing.assert_array_equal(found[1][0], slots)
        assert found[2:] == (expanded, evaluated)
    assert graph.walks == len(queries)


def test_most_of_these_walks_are_walks():
    """The test above passes over searches that look at every row; they must be few."""
    for degree in range(2, 7):
        rows = rows_of("numbers", 200, 3, 0)
        graph = graph_of(tidy_places(200, degree, 0), [0])
        assert found_by(graph, rows, rows[:1], 1, 12)[2] > 0


def test_queries_of_a_batch_and_of_several_threads_know_nothing_of_each_other():
    rows, places = rows_of("numbers", 300, 3, 0), any_places(300, 4, 0)
    queries = rows_of("numbers", 70, 3, 1)
    graph = graph_of(places, range(20))
    batch = found_by(graph, rows, queries, 5, 9)
    for threads in (2, 4):
        for one, other in zip(batch, found_by(graph, rows, queries, 5, 9, threads=threads), strict=True):
            np.testing.assert_array_equal(one, other)
    alone = [found_by(graph, rows, query[None], 5, 9) for query in queries]
    np.testing.assert_array_equal(batch[1], np.concatenate([found[1] for found in alone]))
    assert batch[2] == sum(found[2] for found in alone) > 0


def test_marks_of_hundreds_of_walks_never_meet():
    """The stamp of a walk comes back after 255 others; slots beyond those last walked are then clean too."""
    rows, places = rows_of("numbers", 400, 3, 0), tidy_places(400, 4, 0)
    codec, codes = codes_of(rows)
    scorer = codec.scorer(rows[:1], codes, 1)
    graph = graph_of(places, [0])

    def slots(n_rows):
        return search(graph, scorer, None, 5, 9, 0, None, None, 0, n_rows, 1)[1]

    first = slots(400)
    for _ in range(600):
        np.testing.assert_array_equal(slots(400), first)
    for few in range(250, 260):
        for _ in range(few):
            slots(60)
        np.testing.assert_array_equal(slots(400), first)


def test_a_walk_ends_whatever_the_links():
    rows = rows_of("numbers", 200, 2, 0)
    circle = (np.arange(200, dtype=np.uint32)[:, None] + 1) % 200
    for places in (
        np.full((200, 4), NONE, np.uint32),
        np.full((200, 4), 7, np.uint32),
        np.repeat(circle, 4, axis=1),
        np.repeat(np.arange(200, dtype=np.uint32)[:, None], 4, axis=1),
        np.full((200, 4), 200, np.uint32),
        np.random.default_rng(0).integers(0, 2**32, (200, 4), dtype=np.uint32),
    ):
        for entries in ([5], [5] * 64 + [6, 5], range(200)):
            distances, slots, expanded, _ = found_by(graph_of(places, entries), rows, rows[:3], 8, 9)
            assert 0 < expanded <= 3 * 200
            assert ((slots >= 0) & (slots < 200)).all()
            np.testing.assert_array_equal(distances, [apart_in(rows)(i, s) for i, s in enumerate(slots)])


def test_scratch_is_counted_and_kept_for_the_next():
    rows = rows_of("numbers", 300, 3, 0)
    graph = graph_of(tidy_places(300, 4, 0), [0])
    assert graph.nbytes == graph.table.nbytes + 4
    found_by(graph, rows, rows[:2], 5, 9)
    once = graph.nbytes
    assert once >= graph.table.nbytes + 300
    for _ in range(3):
        found_by(graph, rows, rows[:2], 5, 9)
    assert graph.nbytes == once
    assert Walkers(3, 1000).nbytes > 3000


def test_a_degree_that_cannot_be_is_refused():
    for degree in (-1, 0, 1, 513, 2**40):
        with pytest.raises(ValueError, match=f"degree must be between 2 and 512, not {degree}"):
            Graph(degree)
