import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inlay.parallel.crew import get_num_threads, run, set_num_threads

on_posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def pieces_of(n, grain, threads):
    seen = []
    run(lambda begin, end, worker: seen.append((begin, end, worker)), n, grain, threads)
    return sorted(seen)


# The job


@given(n=st.integers(0, 3000), grain=st.integers(1, 400), threads=st.integers(0, 6))
def test_every_index_is_covered_exactly_once(n, grain, threads):
    pieces = pieces_of(n, grain, threads)
    assert [(begin, end) for begin, end, _ in pieces] == [(b, min(b + grain, n)) for b in range(0, n, grain)]
    workers = min(threads or get_num_threads(), max(len(pieces), 1))
    assert all(0 <= worker < workers for *_, worker in pieces)


def test_a_range_near_the_largest_size_does_not_overflow():
    assert pieces_of(2**64 - 1, 2**63, 2)[0][:2] == (0, 2**63)
    assert [piece[:2] for piece in pieces_of(2**64 - 1, 2**63, 1)] == [(0, 2**63), (2**63, 2**64 - 1)]
    assert pieces_of(2**64 - 1, 2**64 - 1, 2) == [(0, 2**64 - 1, 0)]


@pytest.mark.parametrize(("n", "threads"), [(1, 4), (7, 1)])
def test_one_piece_or_one_thread_runs_in_the_caller(n, threads):
    idents = []
    run(lambda *_: idents.append(threading.get_ident()), n, 1, threads)
    assert idents == [threading.get_ident()] * n


def test_as_many_threads_as_asked_for_work_at_the_same_time():
    together = threading.Barrier(5, timeout=60)
    run(lambda *_: together.wait(), 5, 1, 5)  # a missing thread breaks the barrier


def test_a_worker_number_is_never_in_use_twice():
    busy = [0] * 4

    def body(begin, end, worker):
        busy[worker] += 1
        assert busy[worker] == 1
        time.sleep(0.0002)
        busy[worker] -= 1

    run(body, 300, 1, 4)
    assert busy == [0] * 4


@pytest.mark.parametrize("outer_threads", [1, 2])
def test_a_job_started_inside_a_body_stays_on_its_thread(outer_threads):
    inner = []

    def body(begin, end, worker):
        here = threading.get_ident()
        run(lambda b, e, w: inner.append((begin, b, e, w, threading.get_ident() == here)), 3, 1, 4)

    run(body, 4, 1, outer_threads)
    assert sorted(inner) == [(outer, b, b + 1, 0, True) for outer in range(4) for b in range(3)]


@pytest.mark.parametrize("threads", [1, 2])
def test_after_a_body_has_raised_jobs_are_shared_again(threads):
    with pytest.raises(ZeroDivisionError):
        run(lambda *_: 1 // 0, 4, 1, threads)
    together = threading.Barrier(2, timeout=60)
    run(lambda *_: together.wait(), 2, 1, 2)


@pytest.mark.parametrize("threads", [0, 2, 3])
def test_several_callers_share_the_crew(threads):
    def call(caller):
        totals = []
        for n in range(1, 60):
            parts = []
            run(
                lambda begin, end, worker, parts=parts: parts.append(sum(range(begin, end))),
                n * caller,
                3,
                threads,
            )
            totals.append(sum(parts))
        return totals

    with ThreadPoolExecutor(4) as callers:
        results = list(callers.map(call, range(1, 5)))
    assert results == [[sum(range(n * caller)) for n in range(1, 60)] for caller in range(1, 5)]


@pytest.mark.parametrize("arguments", [(-1, 1, 1), (5, 0, 1), (5, -3, 1), (5, 1, -1), (5, 1, 2**31)], ids=str)
def test_a_job_that_makes_no_sense_is_refused(arguments):
    with pytest.raises(ValueError, match="expected n >= 0, grain >= 1 and threads"):
        run(print, *arguments)


# Exceptions


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_first_exception_reaches_the_caller_and_stops_the_rest(threads):
    failure = KeyError("the one")
    calls = []

    def body(begin, end, worker):
        calls.append(begin)
        if begin == 0:
            raise failure
        time.sleep(0.001)

    with pytest.raises(KeyError) as caught:
        run(body, 2000, 1, threads)
    assert caught.value is failure
    assert len(calls) < 2000


def test_an_exception_of_a_helper_reaches_the_caller_as_it_is():
    caller = threading.get_ident()
    helper_raised = threading.Event()

    def body(begin, end, worker):
        if threading.get_ident() == caller:
            assert helper_raised.wait(60)
        else:
            helper_raised.set()
            raise SystemExit(f"from worker {worker}")

    with pytest.raises(SystemExit, match="from worker 1"):
        run(body, 2, 1, 2)


def test_no_body_runs_any_more_when_an_exception_arrives():
    inside = []

    def body(begin, end, worker):
        inside.append(begin)
        time.sleep(0.01)
        inside.remove(begin)
        if begin == 1:
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        run(body, 100, 1, 4)
    assert inside == []


def test_without_threads_to_be_had_the_job_is_done_by_fewer(run_script):
    pytest.importorskip("resource")
    if not sys.platform.startswith("linux") or "san" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("needs a limit on address space that a program can live with")
    run_script(
        """
        import resource, time
        from inlay.parallel.crew import run
        pages = int(open("/proc/self/statm").read().split()[0])
        most = pages * resource.getpagesize() + (40 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        seen = []
        def body(begin, end, worker):
            seen.append((begin, worker))
            time.sleep(0.02)
        run(body, 64, 1, 64)
        assert sorted(begin for begin, _ in seen) == list(range(64))
        assert len({worker for _, worker in seen}) < 32
        """
    )


# Signals. `max` is a body of compiled code: while it runs, nobody but the crew looks for signals.

ALARM = """
    import signal, threading, time
    from inlay.parallel.crew import run
    def alarm_in(seconds, handler=signal.default_int_handler):
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, seconds)
"""


@on_posix
@pytest.mark.parametrize("threads", [1, 2])
def test_control_c_ends_a_job_between_pieces(run_script, threads):
    source = f"""
    alarm_in(0.2)
    try:
        run(max, 2**62, 1, {threads})
    except KeyboardInterrupt:
        print("interrupted")
    pieces = []
    run(lambda *piece: pieces.append(piece), 5, 1, {threads})
    assert sorted(p[:2] for p in pieces) == [(i, i + 1) for i in range(5)]
    """
    assert run_script(ALARM + source) == "interrupted"


@on_posix
def test_control_c_is_noticed_while_the_caller_waits_for_its_helpers(run_script):
    source = """
    started, released, left = threading.Event(), threading.Event(), []
    def handler(*_):
        released.set()
        raise KeyboardInterrupt
    def body(begin, end, worker):
        if worker == 0:
            started.wait(60)
        else:
            started.set()
            released.wait(60)
            time.sleep(0.3)
            left.append(worker)
    alarm_in(0.5, handler)
    try:
        run(body, 2, 1, 2)
    except KeyboardInterrupt:
        print("interrupted", left)
    """
    assert run_script(ALARM + source) == "interrupted [1]"


@on_posix
def test_a_handler_that_does_not_raise_runs_and_the_job_goes_on(run_script):
    source = """
    handled = threading.Event()
    alarm_in(0.2, lambda *_: handled.set())
    def body(begin, end, worker):
        if worker > 0:
            started.set()
            handled.wait(60)
        else:
            started.wait(60)
    started = threading.Event()
    run(body, 2, 1, 2)
    print(handled.is_set())
    """
    assert run_script(ALARM + source) == "True"


@on_posix
def test_a_signal_handler_may_run_a_job(run_script):
    source = """
    handled = []
    def handler(*_):
        run(lambda *piece: handled.append(piece), 4, 1, 2)
        raise KeyboardInterrupt
    alarm_in(0.2, handler)
    try:
        run(max, 2**62, 1, 2)
    except KeyboardInterrupt:
        print(len(handled))
    """
    assert run_script(ALARM + source) == "4"


# Processes

MEET = """
    import multiprocessing, os, threading
    from inlay.parallel.crew import run
    def meet(*_):
        together = threading.Barrier(2, timeout=60)
        run(lambda *_: together.wait(), 2, 1, 2)
        return True
"""


@on_posix
def test_a_forked_child_has_a_crew_of_its_own(run_script):
    source = """
    meet()
    child = os.fork()
    if child == 0:
        meet()
        grandchild = os.fork()
        if grandchild == 0:
            meet()
            os._exit(7)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    meet()
    """
    run_script(MEET + source)


@on_posix
def test_a_fork_in_the_middle_of_another_threads_job_harms_neither(run_script):
    source = """
    inside, release, done = threading.Barrier(3), threading.Event(), []
    def body(*piece):
        if piece[0] < 2:
            inside.wait(60)
            release.wait(60)
        done.append(piece[0])
    worker = threading.Thread(target=run, args=(body, 10, 1, 2))
    worker.start()
    inside.wait(60)
    child = os.fork()
    if child == 0:
        meet()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    release.set()
    worker.join()
    assert sorted(done) == list(range(10))
    """
    run_script(MEET + source)


@on_posix
def test_a_forked_child_of_another_thread_can_be_interrupted(run_script):
    source = """
    def fork():
        child = os.fork()
        if child == 0:
            alarm()
            try:
                run(max, 2**62, 1, 2)
            except KeyboardInterrupt:
                os._exit(7)
            os._exit(1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    import signal
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    def alarm():
        signal.setitimer(signal.ITIMER_REAL, 0.2)
    codes = []
    forker = threading.Thread(target=fork)
    forker.start()
    forker.join()
    assert codes == [7]
    """
    run_script(MEET + source)


@on_posix
def test_multiprocessing_by_fork_works_after_the_crew_has_started(run_script):
    source = """
    meet()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(meet, range(6)) == [True] * 6
    """
    run_script(MEET + source)


def test_a_process_ends_while_its_helpers_sleep(run_script):
    assert run_script(MEET + "    print(meet())") == "True"


def test_a_process_ends_while_a_daemon_thread_computes(run_script):
    # Compiled bodies, that is: a search. Helpers that run Python must be done when the interpreter exits.
    run_script(
        """
        import threading
        import numpy as np
        import inlay
        index = inlay.FlatIndex(16)
        index.add(np.random.default_rng(1).standard_normal((2000, 16)))
        started = threading.Event()
        def search():
            while True:
                index.search(queries, 5)
                started.set()
        queries = index.reconstruct(index.ids)
        threading.Thread(target=search, daemon=True).start()
        started.wait(60)
        """,
        INLAY_NUM_THREADS="3",
    )


# The setting


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("n", [1, 3, np.int64(2), np.uint8(4)], ids=repr)
def test_the_setting_is_what_was_set(n):
    set_num_threads(n)
    assert get_num_threads() == int(n)
    assert type(get_num_threads()) is int


@pytest.mark.usefixtures("threads")
def test_the_setting_decides_when_a_call_does_not():
    set_num_threads(1)
    assert {worker for *_, worker in pieces_of(50, 1, 0)} == {0}
    set_num_threads(3)
    together = threading.Barrier(3, timeout=60)
    run(lambda *_: together.wait(), 3)


@pytest.mark.parametrize("n", [0, -1, 2**31, 2**70])
def test_a_number_of_threads_out_of_range_is_refused(n):
    before = get_num_threads()
    with pytest.raises(ValueError, match=f"must be between 1 and 2147483647, got {n}"):
        set_num_threads(n)
    assert get_num_threads() == before


@pytest.mark.parametrize("n", [1.0, "2", None])
def test_a_number_of_threads_that_is_no_integer_is_refused(n):
    with pytest.raises(TypeError):
        set_num_threads(n)


ASK = "from inlay.parallel.crew import get_num_threads; print(get_num_threads())"


def test_the_environment_gives_the_first_setting(run_script):
    assert run_script(ASK, INLAY_NUM_THREADS="7") == "7"


@pytest.mark.parametrize("empty", ["", " "])
def test_without_a_word_from_the_environment_every_usable_cpu_is_used(run_script, empty):
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert run_script(ASK, INLAY_NUM_THREADS=empty) == str(cpus)


@on_posix
def test_only_the_cpus_this_process_may_use_are_counted(run_script):
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("needs CPU affinity")
    source = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); " + ASK
    assert run_script(source, INLAY_NUM_THREADS="") == "1"


@pytest.mark.parametrize("bad", ["0", "-2", "two", "1.5", "99999999999"])
def test_a_bad_word_from_the_environment_is_reported_and_ignored(bad):
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**os.environ, "INLAY_NUM_THREADS": bad},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) >= 1
    assert f"INLAY_NUM_THREADS='{bad}' is not a number of threads and is ignored" in done.stderr
