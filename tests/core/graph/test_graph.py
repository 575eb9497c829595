"""The graph as a container: what `check` sees, what is undone, renamed, written and read."""

import numpy as np
import pytest
from core.graph.exact import graph_of, pairs_of, places_of, rows_of, seeds, tidy_places
from hypothesis import given
from hypothesis import strategies as st

from inlay import FormatError
from inlay.contents import Sections
from inlay.graph.build import link
from inlay.graph.graph import Graph, entries_of, sampled_entries
from inlay.graph.mend import mend
from reference_graph import NONE, reached


def ring(n, degree=3):
    """Each leads to the next, and the last to the first."""
    places = np.full((n, degree), NONE, np.uint32)
    places[:, 0] = (np.arange(n) + 1) % n
    return places


def test_a_whole_graph_has_no_faults():
    for n in (2, 3, 40):
        assert graph_of(ring(n), [n // 2]).check() == []
    assert Graph(2).check() == []
    assert graph_of(np.full((1, 2), NONE, np.uint32), [0]).check() == []


FAULTS = {
    "links beyond the 8 vertices": lambda places: places.__setitem__((3, 1), 8),
    "vertex 5 links beyond": lambda places: places.__setitem__((5, 2), NONE - 1),
    "a link stands behind a free place": lambda places: places.__setitem__((3, 2), 7),
    "a vertex links to itself": lambda places: places.__setitem__((3, 1), 3),
    "a vertex links twice to the same": lambda places: places.__setitem__((3, 1), 4),
    "1 vertices have no link to them": lambda places: places.__setitem__((7, 0), 1),
    "5 vertices cannot be reached from the first entry": lambda places: places.__setitem__((4, 0), 2),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault):
    places = ring(8)
    graph = graph_of(places, [2])
    assert graph.check() == []
    FAULTS[fault](graph.table.rows)
    found = graph.check()
    assert any(fault in one for one in found), found
    assert len(found) <= 2


def test_faults_that_hide_each_other_are_all_found():
    places = ring(8)
    places[3] = [3, 4, 4]
    places[0] = [NONE, 2, NONE]
    found = graph_of(places, [2]).check()
    assert len(found) == 5, found


@pytest.mark.parametrize("entries", [[], [8], [0, 1, 8], [NONE]])
def test_entries_that_are_no_vertices_are_a_fault(entries):
    assert graph_of(ring(8), entries).check() == ["there is no entry, or one that is no vertex"]


@given(seeds, st.integers(1, 60), st.integers(2, 6), st.sampled_from([0, 0.3, 0.8]))
def test_lost_vertices_are_counted(seed, n, degree, share):
    places = tidy_places(n, degree, seed, share)
    start = int(np.random.default_rng(seed).integers(n))
    faults = graph_of(places, [start]).check()
    without_way = n - len(reached(places, start))
    without_link = n - len(np.setdiff1d(places, [NONE]))
    expected = []
    if without_link and n > 1:
        expected.append(f"{without_link} vertices have no link to them")
    if without_way:
        expected.append(f"{without_way} vertices cannot be reached from the first entry")
    assert faults == expected


def linked(rows, degree=4, n=None):
    graph = Graph(degree)
    add(graph, rows[:n])
    graph.commit()
    return graph


def add(graph, rows, step=lambda n: None):
    """Link what is new of rows, mend, and leave it to be committed or undone."""
    first = len(graph)
    graph.begin(len(rows))
    link(graph, pairs_of(rows), first, 20, 1.0, 7, 1, step)
    mend(graph, pairs_of(rows), None)


def as_it_is(graph):
    """All that a file holds, and what decides how the graph goes on."""
    fields, sections = graph.state()
    return fields, {name: array.tobytes() for name, array in sections.items()}


@pytest.mark.parametrize("kind", ["numbers", "copies", "equal", "far apart"])
@pytest.mark.parametrize("n", [0, 1, 5, 300])
def test_what_was_begun_is_undone(kind, n):
    rows = rows_of(kind, n + 1500, 3, 0)
    for new in (1, 3, 400, 1500):
        graph = linked(rows, n=n)
        before = as_it_is(graph)
        add(graph, rows[: n + new])
        assert len(graph) == n + new
        assert as_it_is(graph) != before
        graph.truncate(n)
        assert as_it_is(graph) == before
        # The next try gives what it would have given the first time.
        fresh = linked(rows, n=n)
        for one in (graph, fresh):
            add(one, rows[: n + new])
            one.commit()
        assert as_it_is(graph) == as_it_is(fresh)


class Stop(Exception):
    pass


@pytest.mark.parametrize("stop_at", [1, 2, 5, 9])
def test_rounds_that_were_interrupted_are_undone(stop_at):
    rows = rows_of("numbers", 1500, 3, 0)
    for n in (0, 400):
        graph, calls = linked(rows, n=n), []

        def step(done, calls=calls):
            calls.append(done)
            if len(calls) == stop_at:
                raise Stop

        before = as_it_is(graph)
        with pytest.raises(Stop):
            add(graph, rows, step)
        graph.truncate(n)
        assert as_it_is(graph) == before
        add(graph, rows)
        graph.commit()
        assert graph.check() == []


def test_what_was_committed_is_not_undone():
    rows = rows_of("numbers", 300, 3, 0)
    graph = linked(rows)
    assert graph.check() == []
    graph.truncate(200)
    assert len(graph) == 200
    places = places_of(graph)
    assert ((places < 200) | (places == NONE)).all()
    assert all("no link to" in fault or "cannot be reached" in fault for fault in graph.check())
    assert (graph.entries < 200).all()
    # It must be looked at before long.
    assert graph.unmended == 200
    add(graph, rows[:260])
    graph.commit()
    assert graph.check() == []


@given(seeds, st.integers(1, 50), st.sampled_from([0.1, 0.5, 0.9]))
def test_renaming_keeps_who_leads_to_whom(seed, n, share):
    """As when the last rows move into the holes of dead ones."""
    rng = np.random.default_rng(seed)
    dead = rng.random(n) < share
    dead[rng.integers(n)] = False
    live = np.flatnonzero(~dead)
    left = len(live)
    places = np.full((n, 4), NONE, np.uint32)
    for slot in range(n):
        some = rng.permutation(np.setdiff1d(live, [slot]))[:3]
        places[slot, : len(some)] = some
    sources, targets = live[live >= left], np.flatnonzero(dead[:left])
    assert len(sources) == len(targets)
    names = np.arange(n)
    names[sources] = targets
    graph = graph_of(places, live[::2])
    graph.rename(sources, targets)
    graph.truncate(left)
    after = places_of(graph)
    for slot in live:
        expected = {int(names[to]) for to in places[slot] if to != NONE}
        assert {int(to) for to in after[names[slot]] if to != NONE} == expected
    assert graph.entries.tolist() == names[live[::2]].tolist()


def sections_of(**arrays):
    return Sections(arrays, "a file", {})


def test_a_graph_comes_back_as_it_was():
    rows = rows_of("numbers", 300, 3, 0)
    graph = linked(rows)
    fields, arrays = graph.state()
    copy = Graph(4)
    copy.restore(fields, sections_of(**arrays), 300)
    assert as_it_is(copy) == as_it_is(graph)
    # It lies over what it was given until it is changed.
    assert np.shares_memory(copy.table.rows, arrays["links"])
    before = arrays["links"].copy()
    rows = rows_of("numbers", 400, 3, 0)
    add(copy, rows)
    copy.commit()
    np.testing.assert_array_equal(arrays["links"], before)
    add(graph, rows)
    graph.commit()
    assert as_it_is(copy) == as_it_is(graph)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"links": np.zeros((9, 4), np.uint32)}, "section 'links'"),
        ({"links": np.zeros((8, 3), np.uint32)}, "section 'links'"),
        ({"links": np.zeros((8, 4), np.int32)}, "section 'links'"),
        ({"entries": np.zeros(0, np.uint32)}, "section 'entries': does not name some of the 8 rows"),
        ({"entries": np.array([0, 8], np.uint32)}, "section 'entries': does not name some of the 8 rows"),
        ({"entries": np.zeros((1, 1), np.uint32)}, "section 'entries'"),
        ({"entries": np.zeros(1, np.int64)}, "section 'entries'"),
    ],
)
def test_sections_that_cannot_be_are_refused(wrong, said):
    arrays = {"links": ring(8, 4), "entries": np.array([3], np.uint32)}
    Graph(4).restore({"unmended": 0}, sections_of(**arrays), 8)
    with pytest.raises(FormatError, match=said):
        Graph(4).restore({"unmended": 0}, sections_of(**{**arrays, **wrong}), 8)
    for unmended in (-1, 9, 1.0, None, "0", True):
        with pytest.raises(FormatError, match="unmended"):
            Graph(4).restore({"unmended": unmended}, sections_of(**arrays), 8)
    with pytest.raises(FormatError, match="unmended"):
        Graph(4).restore({}, sections_of(**arrays), 8)


def test_an_empty_graph_has_no_entries():
    arrays = {"links": np.empty((0, 4), np.uint32), "entries": np.empty(0, np.uint32)}
    graph = Graph(4)
    graph.restore({"unmended": 0}, sections_of(**arrays), 0)
    assert (len(graph), graph.check()) == (0, [])
    arrays["entries"] = np.array([0], np.uint32)
    with pytest.raises(FormatError, match="section 'entries'"):
        Graph(4).restore({"unmended": 0}, sections_of(**arrays), 0)


def test_entries_are_a_sample():
    assert [entries_of(n) for n in (0, 1, 3, 4, 100)] == [1, 1, 1, 2, 10]
    sizes = [entries_of(n) for n in range(1, 20_000, 7)]
    assert sizes == sorted(sizes)
    slots = np.arange(500, 900, dtype=np.uint32)
    some = sampled_entries(slots, 3)
    assert len(some) == len(set(some.tolist())) == 20
    assert np.isin(some, slots).all()
    np.testing.assert_array_equal(some, sampled_entries(slots, 3))
    assert (some != sampled_entries(slots, 4)).any()


def test_entries_grow_with_the_graph():
    rows = rows_of("numbers", 2000, 3, 0)
    graph = Graph(4)
    for n in (1, 2, 5, 30, 31, 200, 1000, 2000):
        add(graph, rows[:n])
        graph.commit()
        assert graph.check() == []
        assert entries_of(n) / 2 < len(graph.entries) <= entries_of(n)
