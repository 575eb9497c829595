"""Searches beside changes, on whole indexes: what the lock and the crew promise together."""

import os
import threading

import numpy as np
import pytest

import inlay

DIM = 24
STAYING = 300


@pytest.mark.parametrize("spec", ["Flat", "LVQ8", "LVQ4x4"])
@pytest.mark.usefixtures("threads")
def test_rows_that_stay_are_found_while_others_come_and_go(spec, rng):
    inlay.set_num_threads(2)
    rows = rng.standard_normal((STAYING, DIM)).astype(np.float32)
    passing = rng.standard_normal((64, DIM)).astype(np.float32) + 4
    index = inlay.from_spec(spec, DIM)
    index.train(np.concatenate([rows, passing]))
    index.add(rows, ids=np.arange(STAYING))
    failures = []
    changing = threading.Event()
    changing.set()

    def guarded(work):
        try:
            work()
        except BaseException as error:
            failures.append(error)

    def change(first):
        ids = np.arange(first, first + len(passing))
        for _ in range(15):
            index.add(passing, ids=ids)
            assert index.remove(ids) == len(ids)

    def search():
        while changing.is_set():
            _, found = index.search(rows, 1)
            assert np.array_equal(found[:, 0], np.arange(STAYING))

    changers = [threading.Thread(target=guarded, args=(lambda n=n: change(n),)) for n in (1000, 2000)]
    searchers = [threading.Thread(target=guarded, args=(search,)) for _ in range(2)]
    for thread in changers + searchers:
        thread.start()
    for thread in changers:
        thread.join()
    changing.clear()
    for thread in searchers:
        thread.join()
    assert failures == []
    assert sorted(index.ids) == list(range(STAYING))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_amid_searches_searches(run_script):
    run_script(
        """
        import os, threading
        import numpy as np
        import inlay
        inlay.set_num_threads(3)
        rows = np.random.default_rng(1).standard_normal((2000, 16)).astype(np.float32)
        index = inlay.FlatIndex(16)
        index.add(rows)
        expected = index.search(rows[:64], 5)[1]
        over = threading.Event()
        def search():
            while not over.is_set():
                index.search(rows[:64], 5)
        searchers = [threading.Thread(target=search) for _ in range(2)]
        for thread in searchers: thread.start()
        codes = []
        for _ in range(10):
            child = os.fork()
            if child == 0:
                same = np.array_equal(index.search(rows[:64], 5)[1], expected)
                index.add(rows[:3])
                os._exit(7 if same and len(index) == 2003 else 1)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        over.set()
        for thread in searchers: thread.join()
        assert codes == [7] * 10, codes
        """
    )


def test_a_process_ends_while_a_daemon_thread_searches(run_script):
    run_script(
        """
        import threading
        import numpy as np
        import inlay
        inlay.set_num_threads(3)
        rows = np.random.default_rng(1).standard_normal((2000, 16)).astype(np.float32)
        index = inlay.FlatIndex(16)
        index.add(rows)
        started = threading.Event()
        def search():
            while True:
                index.search(rows, 5)
                started.set()
        threading.Thread(target=search, daemon=True).start()
        started.wait(60)
        """
    )
