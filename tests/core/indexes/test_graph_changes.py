"""Changes of a graph that fail leave no trace; searches beside changes, and in forks, see it whole."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from core.indexes.forms import assert_in_order, gaussian
from core.indexes.graphs import GRAPHS, NARROW, low_rank
from core.indexes.test_changes import Refusal, refusing_at
from core.indexes.test_threads import together

import inlay
from inlay.indexes import navigable
from inlay.parallel import crew

DIM = 12
FORMS = (GRAPHS[0], GRAPHS[1], GRAPHS[3], GRAPHS[-1], NARROW[2])


@pytest.fixture(params=FORMS, ids=str)
def form(request):
    return request.param


def with_dead(form, n=600):
    """An index with a few dead rows in its graph, and not all of its rows looked after."""
    rows = low_rank(n + 2000, DIM)
    index = form.untrained(DIM)
    index.add(rows[:n])
    index.remove(np.arange(0, n, 13))
    index.add(rows[n : n + 3])
    return index, rows[n + 3 :]


def interrupting_at(limit):
    def report(done, total):
        if done >= limit:
            raise KeyboardInterrupt

    return report


def test_an_add_that_is_stopped_leaves_no_trace(form):
    index, rows = with_dead(form)
    before = index.to_bytes()
    for make, limit in ((refusing_at, 0), (interrupting_at, 1), (refusing_at, 300), (interrupting_at, 899)):
        for change in (
            lambda report: index.add(rows[:900], progress=report),
            lambda report: index.upsert(rows[:900], range(50, 950), progress=report),
        ):
            with pytest.raises((Refusal, KeyboardInterrupt)):
                change(make(limit))
            assert index.to_bytes() == before
    # And what comes then is as if nothing had been.
    other, _ = with_dead(form)
    for one in (index, other):
        one.add(rows[:700])
        one.remove(range(100))
    assert index.to_bytes() == other.to_bytes()
    assert index.check() == other.check() == []


def test_ctrl_c_ends_a_build_within_a_round(form):
    index = form.untrained(DIM)
    rows = low_rank(60_000, DIM)
    index.add(rows[:300])
    before = index.to_bytes()

    def interrupt(*_):
        raise KeyboardInterrupt

    was = signal.signal(signal.SIGALRM, interrupt)
    try:
        started = time.thread_time()
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            index.add(rows)
        assert time.thread_time() - started < 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, was)
    assert index.to_bytes() == before
    index.add(rows[300:900])
    assert index.check() == []


def test_a_first_add_that_is_stopped_leaves_an_index_untrained(form):
    index = form.untrained(DIM)
    before = index.to_bytes()
    rows = low_rank(1500, DIM)
    for limit in (0, 1499):
        with pytest.raises(Refusal):
            index.add(rows, progress=refusing_at(limit))
        assert index.to_bytes() == before
        assert (len(index), index.check()) == (0, [])
        assert (index.search(rows[:2], 3)[1] == -1).all()
    index.add(rows)
    other = form.untrained(DIM)
    other.add(rows)
    assert index.to_bytes() == other.to_bytes()


def test_bad_rows_and_ids_change_nothing(form):
    index, rows = with_dead(form)
    before = index.to_bytes()
    bad = rows[:900].copy()
    bad[700, 3] = np.nan
    for change, said in (
        (lambda: index.add(bad), "700"),
        (lambda: index.upsert(bad, range(900)), "700"),
        (lambda: index.add(rows[:900, :5]), "12"),
        (lambda: index.add(rows[:3], [1000, 1001, 1000]), "id 1000"),
        (lambda: index.add(rows[:2], [2000, int(index.ids[5])]), f"id {index.ids[5]}"),
    ):
        with pytest.raises(ValueError, match=said):
            change()
        assert index.to_bytes() == before


@pytest.mark.parametrize("failing", ["mend", "link"])
def test_an_error_in_the_graph_itself_is_undone(form, failing, monkeypatch):
    index, rows = with_dead(form)
    before = index.to_bytes()
    real = getattr(navigable, failing)

    def broken(*arguments):
        real(*arguments)
        raise MemoryError

    monkeypatch.setattr(navigable, failing, broken)
    for change in (lambda: index.add(rows[:400]), lambda: index.upsert(rows[:400], range(300, 700))):
        with pytest.raises(MemoryError):
            change()
        assert index.to_bytes() == before
    monkeypatch.undo()
    index.add(rows[:400])
    assert index.check() == []


def test_a_sweep_that_fails_leaves_the_dead_where_they_are(form, monkeypatch):
    index, rows = with_dead(form)

    def broken(*arguments):
        raise KeyboardInterrupt

    real = navigable.heal
    for heal in (broken, lambda *arguments: [real(*arguments), broken()][0]):
        monkeypatch.setattr(navigable, "heal", heal)
        gone = index.ids[::4]
        n_slots = index._ids.n_slots
        with pytest.raises(KeyboardInterrupt):
            index.remove(gone)
        # They were removed; what failed is to take them out of the graph.
        assert not index.contains(gone).any()
        assert index._ids.n_slots == n_slots
        found = index.search(rows[:20], 10)[1]
        assert (found >= 0).all()
        assert not np.isin(found, gone).any()
    monkeypatch.undo()
    index.compact()
    assert index._ids.n_slots == len(index)
    assert index.check() == []


def test_many_searchers_get_what_one_gets(form):
    index, rows = with_dead(form, 2500)
    queries = rows[:64]
    allowed = index.ids[::3]
    alone = [
        (index.search(queries[at : at + 8], 10, ef=20), index.search(queries[at], 5, allowed=allowed))
        for at in range(0, 64, 8)
    ]
    before = index.search_statistics

    def search(number):
        def body():
            for turn in range(16):
                at = (number + turn) % 8
                found = index.search(queries[8 * at : 8 * at + 8], 10, ef=20)
                filtered = index.search(queries[8 * at], 5, allowed=allowed)
                for one, other in zip((*found, *filtered), (*alone[at][0], *alone[at][1]), strict=True):
                    np.testing.assert_array_equal(one, other)

        return body

    together(*map(search, range(8)))
    # What threads counted was added up.
    after = index.search_statistics
    assert after["searches"] - before["searches"] == 8 * 16 * 9


def test_a_search_beside_changes_sees_only_what_was_there(form):
    """Rows of one generation equal each other and no others; a search finds generations as a whole."""
    size = 40
    index = form.empty(DIM)
    spread = gaussian(1200, DIM)
    index.add(spread, np.arange(1200) + 10**6)
    stop = threading.Event()

    def change():
        try:
            for generation in range(1, 25):
                first = 1000 * generation
                index.add(np.full((size, DIM), 100 + generation), first + np.arange(size))
                if generation > 3:
                    assert index.remove(first - 3000 + np.arange(size)) == size
                index.upsert(spread[:5], np.arange(5) + 10**6)
                if generation % 8 == 0:
                    index.compact()
        finally:
            stop.set()

    def search(filtered):
        def body():
            while not stop.is_set():
                allowed = np.arange(10**6) if filtered else None
                distances, ids = index.search(np.full(DIM, 112), 300, allowed=allowed)
                assert_in_order(distances, ids, "l2", int((ids >= 0).sum()))
                generations = ids[(ids >= 0) & (ids < 10**6)] // 1000
                if filtered:
                    found, counts = np.unique(generations, return_counts=True)
                    assert (counts == size).all(), dict(zip(found, counts, strict=True))
                assert len(np.unique(generations)) <= 4
                some = ids[0, ids[0] >= 0][:3]
                assert np.isfinite(distances[ids >= 0]).all()
                index.contains(some)

        return body

    together(change, search(True), search(False))
    assert index.check() == []
    index.compact()
    assert len(index) == 1200 + 3 * size


def test_a_forked_child_searches_and_changes_its_own(form, threads):
    threads(2)
    index, rows = with_dead(form, 1500)
    expected = index.search(rows[:40], 10)
    twin, _ = with_dead(form, 1500)
    twin.add(rows[:500])
    twin.remove(twin.ids[::3])
    data = twin.to_bytes()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            same = all(map(np.array_equal, index.search(rows[:40], 10), expected))
            index.add(rows[:500])
            index.remove(index.ids[::3])
            status = 0 if same and index.to_bytes() == data and index.check() == [] else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(index.search(rows[:40], 10)[1], expected[1])
    assert crew.get_num_threads() == 2


def test_statistics_count_searches():
    index = inlay.GraphIndex(DIM, degree=8)
    assert index.search_statistics == {"searches": 0, "expanded": 0, "evaluated": 0}
    rows = low_rank(2000, DIM)
    index.add(rows)
    assert index.search_statistics["searches"] == 0
    index.search(rows[:7], 3)
    index.search(rows[0], 3)
    seen = index.search_statistics
    assert seen["searches"] == 8
    assert 8 * 64 <= seen["expanded"] <= 8 * 200 < seen["evaluated"] < 8 * 2000
    # Neither is what changes look for, and a sweep forgets nothing.
    index.add(rows[:500])
    index.remove(range(800))
    assert index._ids.n_slots == len(index)
    assert index.search_statistics == seen


def test_the_effort_of_building_may_be_set_and_is_kept():
    rows = gaussian(400, 8)
    index = inlay.GraphIndex(8, degree=8, ef_construction=9)
    index.add(rows[:200])
    index.ef_construction = 90
    index.add(rows[200:])
    assert inlay.GraphIndex.from_bytes(index.to_bytes()).ef_construction == 90
    with pytest.raises(ValueError, match="ef_construction"):
        index.ef_construction = 0
