"""Rows that are the same are one vertex and its chain, whatever is added, removed, undone or renamed."""

import itertools

import numpy as np
import pytest
from core.graph.exact import found_by, graph_of, kinds, pairs_of, places_of, rows_of, seeds, tidy_places
from hypothesis import given
from hypothesis import strategies as st

from inlay.graph.build import link
from inlay.graph.copies import Stored, are_copies, are_whole, chained, living, shortened
from inlay.graph.graph import Graph
from inlay.graph.mend import heal, mend, reconnect
from inlay.ids import Bits
from reference_graph import NONE

ef = 300  # more than there are vertices here: a walk comes across every copy


def grown(graph, rows, last, threads=1):
    """Add rows up to `last`, as an index does."""
    first = len(graph)
    graph.begin(last)
    pairs = pairs_of(rows[:last], threads)
    link(graph, pairs, first, ef, 1.0, 5, threads, lambda n: None, Stored([rows[:last]]))
    reconnect(graph, pairs)


def groups(graph, slots=None):
    """The sets of slots that chains hold, of those given."""
    n = len(graph)
    chain = np.array(graph.copies.rows) if len(graph.copies) else np.full(n, NONE, np.uint32)
    found = []
    for slot in graph.vertices().tolist():
        group = []
        while slot != NONE:
            group.append(slot)
            slot = int(chain[slot])
        if slots is None or group[0] in slots:
            found.append(frozenset(group))
    return set(found)


def equal_rows(rows, slots=None):
    """The sets of slots, of those given, whose rows are equal."""
    together = {}
    for slot in range(len(rows)) if slots is None else sorted(slots):
        together.setdefault(rows[slot].tobytes(), []).append(slot)
    return set(map(frozenset, together.values()))


@given(seeds, kinds, st.integers(0, 60), st.integers(1, 9), st.integers(0, 20), st.booleans())
def test_rows_that_are_the_same_are_chained(seed, kind, n, dim, first, halved):
    first = min(first, n)
    rows = rows_of(kind, n, dim, seed)
    tables = [rows[:, : dim // 2].copy(), rows[:, dim // 2 :].astype(np.int8)] if halved else [rows]
    vertices, chain = chained(Stored(tables), first, n)
    met = []
    for vertex in vertices.tolist():
        group = [vertex]
        while chain[group[-1] - first] != NONE:
            group.append(int(chain[group[-1] - first]))
        assert group == sorted(group)
        met.append(frozenset(slot - first for slot in group))
    assert set(met) == equal_rows(rows[first:])
    assert vertices.tolist() == sorted(vertices.tolist())


@given(seeds, st.integers(1, 40), st.data())
def test_chains_in_pieces_and_of_the_living(seed, n, data):
    rng = np.random.default_rng(seed)
    chain, lists = np.full(n, NONE, np.uint32), []
    for part in np.split(rng.permutation(n), np.unique(rng.integers(0, n + 1, 6))):
        lists.append(part.tolist())
        for one, other in itertools.pairwise(part):
            chain[one] = other
    assert are_whole(chain)
    np.testing.assert_array_equal(
        np.flatnonzero(are_copies(chain)), sorted(slot for part in lists for slot in part[1:])
    )
    alive = rng.random(n) < data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    left, names = living(chain, Bits(alive).array)
    for part in lists:
        rest = [slot for slot in part if alive[slot]]
        assert [int(left[slot]) for slot in part] == [
            rest[rest.index(slot) + 1] if slot in rest[:-1] else NONE for slot in part
        ]
        for at, slot in enumerate(part):
            assert names[slot] == (rest[0] if rest and at == 0 else slot)
    short = chain.copy()
    keep = data.draw(st.integers(0, n))
    shortened(short, keep)
    for part in lists:
        rest = [slot for slot in part if slot < keep]
        assert [int(short[slot]) for slot in rest] == [*rest[1:], *[NONE] * bool(rest)]


@given(st.lists(st.one_of(st.integers(0, 9), st.just(NONE)), max_size=9))
def test_chains_that_are_none(numbers):
    chain = np.array(numbers, np.uint32)
    met = []
    for slot in range(len(chain)):
        for _ in range(len(chain) if slot not in numbers else 0):
            met.append(slot)
            if chain[slot] >= len(chain):
                break
            slot = int(chain[slot])
    tidy = all(number < len(chain) or number == NONE for number in numbers)
    assert are_whole(chain) == (tidy and sorted(met) == list(range(len(chain))))


@given(seeds, st.integers(1, 5), st.integers(2, 9), st.sampled_from([1, 2]))
def test_a_graph_with_copies_is_the_graph_of_what_differs(seed, dim, degree, threads):
    rows = rows_of("copies", 400, dim, seed)
    graph = Graph(degree)
    grown(graph, rows, len(rows), threads)
    assert groups(graph) == equal_rows(rows)
    vertices = graph.vertices()
    plain = Graph(degree)
    grown(plain, rows[vertices], len(vertices))
    places, expected = places_of(graph)[vertices], places_of(plain)
    np.testing.assert_array_equal(
        places, np.where(expected == NONE, NONE, vertices[expected % len(vertices)])
    )
    np.testing.assert_array_equal(graph.entries, vertices[plain.entries])
    assert len(plain.copies) == 0


@given(seeds, kinds, st.integers(1, 60), st.lists(st.integers(1, 30), max_size=6))
def test_later_copies_are_found_and_undone(seed, kind, n, more):
    rows = rows_of(kind, n + sum(more), 2, seed)
    graph = Graph(5)
    grown(graph, rows, n)
    graph.commit()
    for size in more:
        before = graph.state()
        kept = [np.array(array) for array in before[1].values()]
        grown(graph, rows, len(graph) + size)
        graph.truncate(len(graph) - size)
        after = graph.state()
        assert (after[0], list(after[1])) == (before[0], list(before[1]))
        for one, other in zip(kept, after[1].values(), strict=True):
            np.testing.assert_array_equal(one, other)
        grown(graph, rows, len(graph) + size)
        graph.commit()
    assert groups(graph) == equal_rows(rows)
    assert graph.check() == []


@given(seeds, kinds, st.integers(1, 80), st.sampled_from([0.1, 0.5, 0.9]), st.integers(2, 6))
def test_of_a_dead_vertex_a_copy_takes_the_place(seed, kind, n, share, degree):
    rows = rows_of(kind, n, 2, seed)
    graph = Graph(degree)
    grown(graph, rows, n)
    mend(graph, pairs_of(rows), None)
    graph.commit()
    alive = np.random.default_rng(seed).random(n) < share
    alive[n // 2] = True
    live = set(np.flatnonzero(alive).tolist())
    healed = heal(graph, pairs_of(rows), Bits(alive), 1.0, 0, 1)
    assert groups(healed, live) == equal_rows(rows, live)
    assert groups(graph) == equal_rows(rows)
    # The dead may go, and others have their slots.
    targets = np.flatnonzero(~alive[: len(live)])
    sources = np.flatnonzero(alive)[np.flatnonzero(alive) >= len(live)]
    healed.rename(sources, targets)
    healed.truncate(len(live))
    rows[targets] = rows[sources]
    assert groups(healed) == equal_rows(rows[: len(live)])
    assert healed.check() == []


@given(seeds, st.integers(1, 12), st.integers(1, 60), st.booleans())
def test_searches_find_copies(seed, k, beam, filtered):
    rows = rows_of("copies", 120, 2, seed)
    graph = Graph(8)
    grown(graph, rows, len(rows))
    graph.commit()
    queries = rows_of("numbers", 5, 2, seed + 1)
    allowed = np.random.default_rng(seed).random(len(rows)) < 0.9 if filtered else np.ones(len(rows), bool)
    distances, slots, *_ = found_by(graph, rows, queries, k, beam, allowed if filtered else None)
    for query, found, near in zip(queries, slots.tolist(), distances, strict=True):
        assert len(set(found)) == len(found)
        assert allowed[found].all()
        np.testing.assert_array_equal(np.square(rows[found] - query).sum(axis=1), near)
        # As many as a beam holds are all there are.
        if beam >= 45:
            np.testing.assert_array_equal(np.sort(np.square(rows - query).sum(axis=1)[allowed])[:k], near)


def test_links_to_copies_give_no_row_twice():
    """As only a damaged file has them."""
    rows = rows_of("copies", 60, 2, 0)
    graph = graph_of(tidy_places(60, 6, 0), [0])
    vertices, chain = chained(Stored([rows]), 0, 60)
    graph.have_chains()
    graph.copies.rows[:] = chain
    assert len(vertices) < 60
    assert "a copy has links, or is linked to" in graph.check()
    for found in found_by(graph, rows, rows, 20, 40)[1].tolist():
        assert len(set(found)) == 20


@pytest.mark.parametrize("batch", [1, 7, 900])
def test_many_copies_take_no_place_in_a_beam(batch):
    rows = rows_of("numbers", 900, 3, 0)
    rows[np.random.default_rng(0).permutation(900)[:700]] = rows[5]
    graph = Graph(8)
    for last in range(batch, 901, batch):
        grown(graph, rows, last)
        graph.commit()
    grown(graph, rows, 900)
    assert max(map(len, groups(graph))) >= 700
    exact = np.sort(np.square(rows[None, :] - rows[:, None]).sum(axis=2), axis=1)[:, :20]
    np.testing.assert_array_equal(found_by(graph, rows, rows, 20, 60)[0], exact)
