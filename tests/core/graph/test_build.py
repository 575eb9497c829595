"""Links are what the plain rounds give: the diversity rule, the offers, one round after the other."""

import numpy as np
import pytest
from core.graph.exact import apart_in, graph_of, kinds, pairs_of, places_of, rows_of, seeds
from hypothesis import example, given
from hypothesis import strategies as st

import reference_graph as reference
from inlay.graph.build import FIRST, link
from inlay.graph.graph import Graph
from inlay.kernels import table
from reference_graph import NONE


def linked(rows, degree, ef, occlusion, seed=0, pieces=(), threads=1):
    """A graph over rows, which come in pieces; linked by inner product where the occlusion is None."""
    graph = Graph(degree)
    inner = occlusion is None
    for first, last in zip([0, *pieces], [*pieces, len(rows)], strict=True):
        graph.begin(last)
        pairs = pairs_of(rows[:last], threads, inner)
        link(graph, pairs, first, ef, 1.0 if inner else occlusion, seed, threads, lambda n: None)
        graph.commit()
    return graph


def assert_as_the_reference(graph, rows, ef, occlusion, seed, pieces=()):
    places = np.full((0, graph.degree), NONE, np.uint32)
    entries = np.empty(0, np.uint32)
    for first, last in zip([0, *pieces], [*pieces, len(rows)], strict=True):
        more = np.full((last - first, graph.degree), NONE, np.uint32)
        whole = np.concatenate([places, more])
        apart = apart_in(rows, occlusion is None)
        places, entries = reference.link(whole, entries, first, ef, occlusion, seed, apart)
    np.testing.assert_array_equal(places_of(graph), places)
    np.testing.assert_array_equal(graph.entries, entries)


occlusions = st.sampled_from([1.0, 1.2, 2.0, None])


@given(seeds, kinds, st.integers(0, 60), st.integers(1, 9), st.integers(2, 12), occlusions)
@example(0, "equal", 33, 1, 2, 1.0)
@example(0, "zeros", 60, 3, 5, 1.2)
def test_few_rows_are_compared_each_with_all(seed, kind, n, dim, degree, occlusion):
    rows = rows_of(kind, n, dim, seed)
    graph = linked(rows, degree, 7, occlusion, seed)
    assert_as_the_reference(graph, rows, 7, occlusion, seed)
    found = graph.check()
    assert all("no link to them" in fault or "cannot be reached" in fault for fault in found), found


@given(seeds, kinds, st.integers(1, 5), st.integers(2, 9), st.integers(1, 30), occlusions, st.data())
def test_later_rows_are_linked_in_rounds(seed, kind, dim, degree, ef, occlusion, data):
    first = data.draw(st.integers(1, 100))
    n = first + data.draw(st.integers(1, 100))
    rows = rows_of(kind, n, dim, seed)
    graph = linked(rows, degree, ef, occlusion, seed, [first])
    assert_as_the_reference(graph, rows, ef, occlusion, seed, [first])


@pytest.mark.parametrize(
    ("kind", "occlusion"),
    [("numbers", 1.0), ("copies", 1.2), ("equal", 1.0), ("far apart", 1.0), ("numbers", None)],
)
def test_more_rows_than_are_compared_each_with_all(kind, occlusion):
    rows = rows_of(kind, FIRST + 150, 4, 1)
    graph = linked(rows, 6, 20, occlusion, 5)
    assert_as_the_reference(graph, rows, 20, occlusion, 5)
    pieces = [1, 2, 4, 9, FIRST + 1, FIRST + 149]
    assert_as_the_reference(linked(rows, 6, 20, occlusion, 5, pieces), rows, 20, occlusion, 5, pieces)


def test_threads_and_levels_change_no_link():
    before = table.level()
    try:
        for kind in ("numbers", "copies", "far apart"):
            rows = rows_of(kind, FIRST + 900, 4, 2)
            for occlusion in (1.0, None):
                made = []
                for level in table.levels():
                    table.set_level(level)
                    made += [linked(rows, 5, 20, occlusion, threads=threads) for threads in (1, 2, 4)]
                for other in made[1:]:
                    np.testing.assert_array_equal(places_of(other), places_of(made[0]))
                    np.testing.assert_array_equal(other.entries, made[0].entries)
    finally:
        table.set_level(before)


def test_the_seed_gives_the_order():
    rows = rows_of("numbers", FIRST + 100, 4, 0)
    one, same, other = (places_of(linked(rows, 5, 20, 1.0, seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def links_of_first(rows, degree, occlusion):
    """The links of vertex 0, to which all others are candidates."""
    graph = linked(np.array(rows, np.float32), degree, 1, occlusion)
    return sorted(int(slot) for slot in places_of(graph)[0] if slot != NONE)


# Squared distances, four times: 10 and 11 from the vertex, and between the two what the name says.
VERTEX, NEAR = [0] * 6, [6, 2, 0, 0, 0, 0]
TWELVE_AWAY, NINE_AWAY = [3, 0, 5, 3, 1, 0], [4, 0, 5, 1, 1, 1]
ELSEWHERE = [-7, -7, 0, 0, 0, 0]


def test_a_larger_occlusion_keeps_more():
    for other, apart in ((TWELVE_AWAY, 48), (NINE_AWAY, 36)):
        assert apart_in(np.array([VERTEX, NEAR, other]))(0, [1, 2]).tolist() == [40, 44]
        assert apart_in(np.array([NEAR, other]))(0, [1]).tolist() == [apart]
    # 12 apart: in another direction, for 1.2 as for 1. The other way round, 12 < 1.2 * 11 would drop it.
    for occlusion in (1.0, 1.2, 2.0):
        assert links_of_first([VERTEX, NEAR, TWELVE_AWAY, ELSEWHERE], 2, occlusion) == [1, 2]
    # 9 apart: 1.2 * 9 = 10.8 <= 11 is dropped, 1.3 * 9 = 11.7 is not.
    for occlusion in (1.0, 1.2):
        assert links_of_first([VERTEX, NEAR, NINE_AWAY, ELSEWHERE], 2, occlusion) == [1, 3]
    assert links_of_first([VERTEX, NEAR, NINE_AWAY, ELSEWHERE], 2, 1.3) == [1, 2]


def test_as_far_from_the_kept_as_from_the_vertex_is_shadowed():
    assert links_of_first([[0, 0], [2, 0], [1, 2], [-3, 0]], 2, 1.0) == [1, 3]
    # The nearest of what was passed over fill up what is left.
    assert links_of_first([[0, 0], [2, 0], [3, 0], [4, 0], [5, 0], [-3, 0]], 4, 1.0) == [1, 2, 3, 5]


def test_equal_rows_shadow_only_their_equals():
    # 1, 2 and 3 equal the vertex: one stands for them. 4 and 5 are no further from 1 than from it.
    rows = [[0, 0], [0, 0], [0, 0], [0, 0], [2, 0], [0, 5]]
    assert links_of_first(rows, 3, 1.0) == [1, 4, 5]
    assert links_of_first(rows, 4, 1.0) == [1, 2, 4, 5]
    # Of equal rows elsewhere the first is kept, the other direction comes before the second.
    assert links_of_first([[0, 0], [2, 0], [2, 0], [2, 0], [0, 3]], 2, 1.0) == [1, 4]


def diverse(rows, places):
    """The share of links that no nearer link of the same vertex shadows."""
    passed = total = 0
    for slot, links in enumerate(places):
        found = reference.nearest(slot, [int(to) for to in links if to != NONE], apart_in(rows))
        # One more than there are places for, or nothing would be tested.
        kept, _ = reference.choose([*found, (np.inf, slot)], len(found), 1.0, apart_in(rows))
        passed, total = passed + len(kept), total + len(found)
    return passed / total


def test_many_links_come_from_the_diversity_test_and_more_from_a_larger_occlusion():
    rng = np.random.default_rng(0)
    rows = (rng.integers(-9, 10, (700, 8)) @ rng.integers(-3, 4, (8, 24))).astype(np.float32)
    assert diverse(rows, places_of(linked(rows, 16, 64, 1.0))) >= 0.4
    apart = apart_in(rows)
    found = [reference.nearest(slot, np.delete(np.arange(700), slot), apart)[:64] for slot in range(60)]
    kept = [
        sum(len(reference.choose(some, 16, occlusion, apart)[0]) for some in found)
        for occlusion in (1.0, 1.1, 1.2, 1.5)
    ]
    assert kept == sorted(kept)
    assert kept[-1] > kept[0]


def test_a_beam_of_one_and_of_more_than_all():
    rows = rows_of("numbers", 140, 3, 0)
    for ef in (1, 1 << 40):
        graph = linked(rows, 4, ef, 1.0, pieces=[100])
        assert_as_the_reference(graph, rows, min(ef, 140), 1.0, 0, [100])


def test_steps_add_up_and_nothing_is_done_for_no_rows():
    rows, steps = rows_of("numbers", 700, 3, 0), []
    graph = Graph(4)
    graph.begin(700)
    link(graph, pairs_of(rows), 0, 20, 1.0, 0, 1, steps.append)
    assert sum(steps) == 700
    assert steps[0] == FIRST
    assert all(0 < step <= 700 / 8 for step in steps[1:])
    assert graph.unmended == 700
    before = places_of(graph)
    link(graph, pairs_of(rows), 700, 20, 1.0, 0, 1, steps.append)
    assert sum(steps) == 700
    np.testing.assert_array_equal(places_of(graph), before)


@given(seeds, st.integers(1, 40), st.integers(2, 5), st.data())
def test_links_of_a_damaged_file_are_passed_over(seed, n, degree, data):
    """What links lead nowhere, old vertices that are offered new ones lose them; no slot is read beyond n."""
    rng = np.random.default_rng(seed)
    rows = rows_of("numbers", n + 30, 2, seed)
    places = rng.integers(0, 2**32, (n, degree), dtype=np.uint32)
    places[rng.random((n, degree)) < 0.3] = 2**31 + 5
    places[rng.random((n, degree)) < data.draw(st.sampled_from([0.1, 0.9]))] = 0
    graph = graph_of(places, [0, n - 1])
    graph.begin(n + 30)
    link(graph, pairs_of(rows), n, 9, 1.0, 0, 1, lambda n: None)
    new = places_of(graph)[n:]
    assert ((new < n + 30) | (new == NONE)).all()
    graph.truncate(n)
    np.testing.assert_array_equal(places_of(graph), places)
