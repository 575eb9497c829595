"""Mending leads a way to every vertex and loses none; healing leads past vertices that are to go."""

import signal
import time

import numpy as np
import pytest
from core.graph.exact import apart_in, graph_of, kinds, pairs_of, places_of, rows_of, seeds, tidy_places
from hypothesis import given
from hypothesis import strategies as st

import reference_graph as reference
from inlay.graph.build import link
from inlay.graph.mend import MEND_AFTER, heal, is_due, mend, reconnect
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


def test_mending_is_due_when_many_are_new():
    n = 5 * MEND_AFTER
    graph = graph_of(tidy_places(n, 3, 0), [0])
    for unmended, due in ((0, False), (4, False), (5, True), (n, True)):
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


def grown(graph, rows, new, seed=0, inner=False):
    """Link `new` more of the rows, and reconnect; not committed."""
    first = len(graph)
    graph.begin(first + new)
    pairs = pairs_of(rows[: first + new], 1, inner)
    link(graph, pairs, first, 20, 1.0, seed, 1, lambda n: None)
    reconnect(graph, pairs)


@given(
    seeds,
    kinds,
    st.integers(2, 120),
    st.lists(st.integers(1, 9), min_size=1, max_size=8),
    st.integers(2, 6),
    st.booleans(),
)
def test_vertices_linked_a_few_at_a_time_are_reached_at_once(seed, kind, n, pieces, degree, inner):
    rows = rows_of(kind, n + sum(pieces), 2, seed)
    # Fewer would be replaced by more of them soon, and walks begin elsewhere.
    entries = np.random.default_rng(seed).permutation(n)[: 1 + int(n**0.5)]
    graph = mended(tidy_places(n, degree, seed), entries, rows[:n])
    for new in pieces:
        grown(graph, rows, new, seed, inner)
        assert graph.check() == []
        assert graph.unmended == 0
        graph.commit()


@given(seeds, kinds, st.integers(2, 80), st.integers(1, 5), st.integers(2, 5), st.sampled_from([0.3, 0.7]))
def test_what_could_be_reached_still_can_be(seed, kind, n, new, degree, share):
    rows = rows_of(kind, n + new, 2, seed)
    places = tidy_places(n, degree, seed, share)
    graph = graph_of(places, np.arange(1 + int(n**0.5)))
    graph.unmended = 3
    grown(graph, rows, new, seed)
    assert reached(places_of(graph), 0) >= reached(places, 0)
    # Others are not looked for, unless there was no other way than to look at all.
    assert graph.unmended in (0, 3)
    graph.truncate(n)
    np.testing.assert_array_equal(places_of(graph), places)
    assert graph.unmended == 3


def test_a_far_cluster_is_not_cut_off_by_nearer_rows():
    """The link to it is the farthest of its vertex, whose places are wanted by those that come."""
    numbers = np.arange(20)
    rows = np.concatenate([10 * numbers, 10_000 + numbers, 190 + np.arange(1, 40)]).astype(np.float32)[
        :, None
    ]
    chain = np.full((40, 3), NONE, np.uint32)
    chain[0, 0], chain[1:, 0], chain[1:-1, 1] = 1, np.arange(39), np.arange(2, 40)
    chain[20, :2] = 21, NONE  # there is a way to the cluster, and none from it
    graph = graph_of(chain, [0, 1, 2, 3, 4, 5, 6])
    assert graph.check() == []
    for _ in range(39):
        grown(graph, rows, 1)
        graph.commit()
        assert graph.check() == []
    assert 20 not in places_of(graph)[19]  # the link that led there


def test_reconnecting_with_the_links_of_a_damaged_file():
    rng = np.random.default_rng(0)
    rows = rows_of("numbers", 206, 3, 0)
    for high in (200, 260, 2**32):
        places = rng.integers(0, high, (200, 4), dtype=np.uint32)
        graph = graph_of(places, np.arange(15))
        grown(graph, rows, 6)
        assert len(reached(places_of(graph), 0)) > 1


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


class Stop(Exception):
    pass


@pytest.fixture
def stop_soon():
    """A function that calls another, in the course of which a signal handler raises."""
    if not hasattr(signal, "setitimer"):
        pytest.skip("needs a timer")

    def stop(*_):
        raise Stop

    before = signal.signal(signal.SIGALRM, stop)

    def call(function, *arguments):
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        return function(*arguments)

    yield call
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_signal_ends_mending_which_is_undone(stop_soon):
    n = 60_000
    graph = graph_of(np.full((0, 8), NONE, np.uint32), [])
    graph.begin(n)
    graph.entries = np.array([3], np.uint32)
    pairs = pairs_of(rows_of("numbers", n, 2, 0))
    started = time.monotonic()
    with pytest.raises(Stop):
        stop_soon(mend, graph, pairs, None)
    assert time.monotonic() - started < 2
    assert graph.check() != []
    graph.truncate(0)
    assert (len(graph), graph.check()) == (0, [])


def test_a_signal_ends_healing_which_changes_nothing(stop_soon):
    n = 60_000
    places = np.random.default_rng(0).integers(0, n, (n, 16), dtype=np.uint32)
    graph, alive = graph_of(places, [0]), Bits(np.arange(n) % 2 > 0)
    pairs = pairs_of(rows_of("numbers", n, 2, 0))
    started = time.monotonic()
    with pytest.raises(Stop):
        stop_soon(heal, graph, pairs, alive, 1.0, 0, 1)
    assert time.monotonic() - started < 2
    np.testing.assert_array_equal(places_of(graph), places)
