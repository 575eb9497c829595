"""Mending leads a way to every vertex and loses none; healing leads past vertices that are to go."""

import time

import numpy as np
import pytest
from core.graph.exact import apart_in, graph_of, kinds, pairs_of, places_of, rows_of, seeds, tidy_places
from hypothesis import given
from hypothesis import strategies as st

import reference_graph as reference
from inlay.graph.mend import heal, is_due, mend
from inlay.ids import Bits
from reference_graph import NONE, reached


def mended(places, entries, rows, alive=None):
    graph = graph_of(places, entries)
    graph.unmended = len(places)
    mend(graph, pairs_of(rows), None if alive is None else Bits(alive))
    assert graph.unmended == 0
    return graph


@given(seeds, kinds, st.integers(1, 80), st.integers(2, 6), st.sampled_from([0, 0.2, 0.5, 1]), st.booleans())
def test_mending_makes_any_graph_whole(seed, kind, n, degree, share, crowded):
    places = tidy_places(n, degree, seed, share)
    if crowded:  # all lead to the same few
        few = min(n, degree + 1)
        places[places != NONE] %= few
        for slot in range(n):
            links = np.setdiff1d(places[slot], [slot, NONE])
            reference.put(places, slot, links)
    rng = np.random.default_rng(seed)
    entries = rng.permutation(n)[: rng.integers(1, 1 + min(n, 9))]
    start = int(entries[0])
    graph = mended(places, entries, rows_of(kind, n, 2, seed))
    assert graph.check() == []
    after = places_of(graph)
    assert reached(after, start) == set(range(n))
    # As many links are new as vertices, or groups of them that lead to each other, had no way to them.
    changed = after != places
    assert changed.sum() <= n - len(reached(places, start)) + 1
    gained = [
        set(reference.links_of(after, slot)) - set(reference.links_of(places, slot)) for slot in range(n)
    ]
    assert not set().union(*gained) & (reached(places, start) - {start})
    # Once is enough.
    again = mended(after, entries, rows_of(kind, n, 2, seed))
    np.testing.assert_array_equal(places_of(again), after)


def test_the_nearest_that_can_be_reached_and_has_room_adopts():
    rows = np.array([[0], [10], [20], [30], [31]], np.float32)
    chain = np.full((5, 2), NONE, np.uint32)
    chain[0, 0], chain[1, 0], chain[2, 0], chain[3, 0] = 1, 2, 3, 0
    assert places_of(mended(chain, [0], rows))[3].tolist() == [0, 4]
    # No free place, and both of its links are all that leads there: the next in line does it.
    chain[3] = [0, 2]
    chain[2] = [3, 1]
    graph = mended(chain, [0], rows)
    assert graph.check() == []
    assert 4 in places_of(graph)[3]
    full = np.array([[1, 2], [2, 0], [3, 0], [4, 0], [1, 2], [NONE, NONE]], np.uint32)
    graph = mended(full, [0], np.array([[0], [10], [20], [30], [40], [15]], np.float32))
    assert graph.check() == []
    lost = [set(full[slot]) - set(places_of(graph)[slot]) - {NONE} for slot in range(6)]
    assert sum(map(len, lost)) <= 1


def test_an_entry_to_which_only_dead_vertices_lead_gets_a_link_of_its_own():
    rows = rows_of("line", 6, 1, 0)
    places = np.full((6, 2), NONE, np.uint32)
    # 0 leads to 1, 1 to 2; of the rest, which are dead, one leads back to 0.
    places[0, 0], places[1, 0], places[5, 0] = 1, 2, 0
    alive = np.array([True, True, True, False, False, False])
    graph = mended(places, [0], rows, alive)
    kept = places_of(graph)[:3]
    assert (kept == 0).any()
    assert graph_of(kept, [0]).check() == []


def test_dead_vertices_are_not_led_to():
    rows = rows_of("numbers", 40, 2, 0)
    alive = np.arange(40) % 3 > 0
    graph = mended(np.full((40, 3), NONE, np.uint32), [1], rows, alive)
    places = places_of(graph)
    assert reached(places, 1) == set(np.flatnonzero(alive).tolist())
    assert (places[~alive] == NONE).all()


def test_mending_is_due_when_a_sixteenth_is_new():
    graph = graph_of(tidy_places(160, 3, 0), [0])
    for unmended, due in ((0, False), (9, False), (10, True), (160, True)):
        graph.unmended = unmended
        assert is_due(graph) is due


@pytest.mark.parametrize("fill", [5_000, 4_999, 0, 1, NONE - 1])
def test_nothing_that_a_damaged_file_says_keeps_mending_busy(fill):
    """Without a place for any link, looking for one for each vertex would take n * n steps."""
    n = 60_000
    rows = np.zeros((n, 1), np.float32)
    places = np.full((n, 2), fill, np.uint32)
    before = time.thread_time()
    mended(places, [0], rows)
    circle = np.repeat((np.arange(n, dtype=np.uint32)[:, None] + 1) % (n // 2), 2, axis=1)
    mended(circle, [0], rows)
    assert time.thread_time() - before < 3


def test_mending_nothing():
    for n in (0, 1):
        graph = mended(np.full((n, 3), NONE, np.uint32), [0][:n], np.zeros((n, 2), np.float32))
        assert graph.check() == []
        assert (places_of(graph) == NONE).all()


@given(seeds, kinds, st.integers(1, 70), st.integers(2, 6), st.sampled_from([0.1, 0.5, 0.9]), st.data())
def test_healing_leads_past_the_dead(seed, kind, n, degree, share, data):
    rng = np.random.default_rng(seed)
    rows = rows_of(kind, n, 2, seed)
    places = tidy_places(n, degree, seed)
    if data.draw(st.booleans()):
        places = places_of(mended(places, [0], rows))
    alive = rng.random(n) < share
    alive[rng.integers(n)] = True
    graph = graph_of(places, [0])
    occlusion = data.draw(st.sampled_from([1.0, 1.2, None]))
    pairs = pairs_of(rows, 2, occlusion is None)
    healed = heal(graph, pairs, Bits(alive), occlusion or 1.0, seed, 2)
    np.testing.assert_array_equal(places_of(graph), places)
    assert alive[healed.entries].all()
    assert len(set(healed.entries.tolist())) == len(healed.entries) == max(1, int(alive.sum() ** 0.5))
    # What is left when the dead are dropped is a whole graph.
    names = np.full(n, NONE, np.uint32)
    names[alive] = np.arange(alive.sum())
    after = places_of(healed)
    there = after[alive] != NONE
    assert alive[after[alive][there]].all()
    left = np.full_like(after[alive], NONE)
    left[there] = names[after[alive][there]]
    assert graph_of(left, names[healed.entries]).check() == []
    # Links that a way needed aside, they are those that the rule gives.
    expected = reference.heal(places, alive, occlusion, apart_in(rows, occlusion is None))
    start = int(healed.entries[0])
    live = set(np.flatnonzero(alive).tolist())
    whole = reached(expected, start) == live and (start in expected[alive] or len(live) == 1)
    if whole:
        np.testing.assert_array_equal(after, expected)
    new = (after != expected).sum()
    assert new <= len(live - reached(expected, start)) + 1


def test_healing_is_the_same_for_any_number_of_threads():
    rows = rows_of("numbers", 500, 3, 0)
    places, alive = tidy_places(500, 6, 0), np.arange(500) % 7 > 2
    one, many = (
        heal(graph_of(places, [0]), pairs_of(rows, threads), Bits(alive), 1.0, 3, threads)
        for threads in (1, 4)
    )
    np.testing.assert_array_equal(places_of(one), places_of(many))
    np.testing.assert_array_equal(one.entries, many.entries)


def test_healing_with_the_links_of_a_damaged_file():
    rng = np.random.default_rng(0)
    rows = rows_of("numbers", 200, 3, 0)
    for high in (200, 260, 2**32):
        places = rng.integers(0, high, (200, 4), dtype=np.uint32)
        alive = rng.random(200) < 0.5
        healed = heal(graph_of(places, [3, 5]), pairs_of(rows), Bits(alive), 1.0, 0, 1)
        after = places_of(healed)[alive]
        assert alive[after[after < 200]].all()


def test_healing_without_any_left():
    rows = rows_of("numbers", 20, 3, 0)
    healed = heal(graph_of(tidy_places(20, 4, 0), [0]), pairs_of(rows), Bits(np.zeros(20, bool)), 1.0, 0, 1)
    assert (len(healed), healed.check(), healed.degree) == (0, [], 4)
