"""Searches run together, a change alone; neither threads, forks nor Ctrl-C bring an index out of step."""

import os
import threading

import numpy as np
import pytest
from core.indexes.forms import FORMS, Form, assert_in_order, gaussian, held

import inlay

DIM = 16


def together(*bodies):
    """Run every body in a thread of its own; raise what one of them raised."""
    errors = []

    def guarded(body):
        try:
            body()
        except BaseException as error:  # raised again in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def test_searches_together_give_what_they_give_alone(form, metric):
    index = form.filled(gaussian(3000, DIM), metric)
    queries = gaussian(64, DIM, seed=1)
    alone = [index.search(queries[at : at + 8], 10) for at in range(0, 64, 8)]
    ranges = index.range_search(queries[:4], 9.0 if metric == "l2" else 0.3)

    def search(number):
        def body():
            for turn in range(12):
                at = (number + turn) % 8
                for one, other in zip(index.search(queries[8 * at : 8 * at + 8], 10), alone[at], strict=True):
                    np.testing.assert_array_equal(one, other)
            again = index.range_search(queries[:4], 9.0 if metric == "l2" else 0.3)
            for one, other in zip(again, ranges, strict=True):
                np.testing.assert_array_equal(one, other)

        return body

    together(*map(search, range(4)))


@pytest.mark.parametrize("name", ["Flat", "LVQ4x8", "LVQ8"])
def test_a_search_beside_changes_sees_a_whole_state(name):
    form = next(form for form in FORMS if str(form) == name)
    index = form.empty(DIM)
    # Rows come and go in whole generations: a search that sees a part of one saw a change half done.
    rows, size = gaussian(400, DIM), 100
    index.add(rows[:size], np.arange(size))
    stop = threading.Event()

    def change():
        try:
            for generation in range(1, 60):
                index.upsert(rows[:size], np.arange(size))
                index.add(rows[:size] + generation, generation * 1000 + np.arange(size))
                assert index.remove((generation - 1) * 1000 + np.arange(size)) in (0, size)
                if generation % 7 == 0:
                    index.compact()
                index.add(rows[:size], np.arange(size)) if 0 not in index else None
        finally:
            stop.set()

    def search():
        while not stop.is_set():
            distances, ids = index.search(rows[:5], 500)
            assert_in_order(distances, ids, "l2", int((ids[0] >= 0).sum()))
            found, counts = np.unique(ids[ids >= 0] // 1000, return_counts=True)
            assert (counts == 5 * size).all(), dict(zip(found, counts, strict=True))

    def look():
        while not stop.is_set():
            assert len(index.ids) % size == 0
            both = index.search_and_reconstruct(rows[:2], 50)
            assert not np.isnan(both[2]).any()
            copy = type(index).from_bytes(index.to_bytes())
            assert len(copy) % size == 0

    together(change, search, search, look)
    assert sorted(index.ids // 1000) == sorted([0] * size + [59] * size)


def test_changes_from_several_threads_are_made_one_after_the_other(form):
    index = form.empty(DIM)
    rows = gaussian(50, DIM)
    given = []

    def change(number):
        def body():
            for turn in range(20):
                given.append(index.add(rows + number))
                own = -(10**6) * (number + 1) - np.arange(50) - 50 * turn
                index.upsert(rows - number, own)
                assert index.remove(own[::2]) == 25

        return body

    together(*map(change, range(4)))
    ids = np.concatenate(given)
    assert len(np.unique(ids)) == len(ids) == 4 * 20 * 50
    assert len(index) == 4 * 20 * (50 + 25)
    assert index.contains(ids).all()
    expected = form.filled(rows - 2)
    kept = -(10**6) * 3 - np.arange(50)[1::2]
    np.testing.assert_array_equal(index.reconstruct(kept), held(expected)[1::2])


def test_a_filter_may_be_shared_by_threads(form):
    indexes = [form.filled(gaussian(n, DIM)) for n in (400, 900, 200, 50)]
    shared = inlay.IdFilter(range(0, 1000, 3))
    query = gaussian(1, DIM, seed=2)
    expected = [index.search(query, 30, allowed=shared.ids) for index in indexes]

    def search(number):
        def body():
            for turn in range(100):
                at = (number + turn) % len(indexes)
                found = indexes[at].search(query, 30, allowed=shared)
                for one, other in zip(found, expected[at], strict=True):
                    np.testing.assert_array_equal(one, other)

        return body

    together(*map(search, range(4)))


def test_the_number_of_threads_changes_no_result_of_one_large_search(threads):
    # So many rows that a single query is spread over threads.
    rows, query = gaussian(70_000, 8), gaussian(3, 8, seed=1)
    rows[40_000:] = rows[:30_000]  # ties between the parts of different threads
    mask = np.arange(70_000) % 11 != 3
    for form in (Form("Flat"), Form("LVQ4x8"), Form("LVQ8", {"rotation": False})):
        answers = []
        index = form.filled(rows, ids=np.random.default_rng(3).permutation(70_000))
        for count in (1, 2, 4, 5):
            threads(count)
            answers.append([index.search(query[0], 100), index.search(query, 37, allowed=mask)])
        for other in answers[1:]:
            np.testing.assert_array_equal(other[0], answers[0][0])
            np.testing.assert_array_equal(other[1], answers[0][1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_searches_and_changes_its_copy(run_script):
    printed = run_script(
        """
        import os, threading, warnings
        import numpy as np
        import inlay
        warnings.simplefilter("ignore", DeprecationWarning)  # that other threads run is what this is about
        inlay.set_num_threads(2)
        rows = np.random.default_rng(0).standard_normal((40_000, 16))
        for spec in ("Flat", "LVQ4x8"):
            index = inlay.from_spec(spec, 16)
            index.add(rows)
            expected = index.search(rows[:100], 5)
            stop = threading.Event()
            def work():
                while not stop.is_set():
                    index.search(rows[:100], 5)
            threads = [threading.Thread(target=work) for _ in range(2)]
            [thread.start() for thread in threads]
            for _ in range(5):
                child = os.fork()
                if child == 0:
                    code = 1
                    try:
                        found = index.search(rows[:100], 5)
                        same = all(np.array_equal(a, b) for a, b in zip(found, expected))
                        index.remove(np.arange(10))
                        index.add(rows[:50])
                        again = index.search(rows[:100], 5)
                        code = 0 if same and len(index) == 40_040 and again[1].shape == (100, 5) else 2
                    finally:
                        os._exit(code)
                assert os.waitpid(child, 0)[1] == 0
            stop.set()
            [thread.join() for thread in threads]
        print("done")
        """
    )
    assert printed == "done"


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("n_threads", [1, 2])
def test_ctrl_c_ends_a_long_call_and_leaves_the_index_as_it_was(run_script, n_threads):
    """A call that would take minutes; the process ends in time only if it is ended."""
    printed = run_script(
        """
        import os, signal, threading, time
        import numpy as np
        import inlay

        def interrupted(call):
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                call()
            except KeyboardInterrupt:
                return True
            return False

        rows = np.random.default_rng(0).standard_normal((30_000, 64)).astype(np.float32)
        many = np.tile(rows, (12, 1))
        for spec in ("Flat", "LVQ8"):
            index = inlay.from_spec(spec, 64)
            index.add(rows)
            before = index.to_bytes()
            assert interrupted(lambda: index.search(many, 10)), "search"
            assert interrupted(lambda: index.range_search(many, 1.0)), "range_search"
            if spec != "Flat":
                assert interrupted(lambda: [index.add(many) for _ in range(1000)]), "add"
                assert (len(index) - len(rows)) % len(many) == 0, "a part of an add is left"
            assert index.search(rows[:3], 1)[1].ravel().tolist() == [0, 1, 2]
            if spec == "Flat":
                assert index.to_bytes() == before
        print("done")
        """,
        INLAY_NUM_THREADS=str(n_threads),
    )
    assert printed == "done"
