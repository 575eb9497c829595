"""The crew of threads that every index computes with.

A job over [0, n) is cut into pieces; the caller and as many helpers as asked for take the pieces one after
the other. Helpers start with the first job that wants them and stay. Ctrl-C ends a job after the pieces that
are being worked on, and a forked child starts a crew of its own. The mechanism is in ``crew.hpp``.
"""

import operator
import os
import threading
import warnings

from libcpp cimport bool as bool_t


cdef extern from "Python.h" nogil:
    unsigned long PyThread_get_thread_ident() noexcept
    # Declared without its error value: whoever asked returns with the exception set.
    int PyErr_CheckSignals() noexcept

cdef extern from "<atomic>" nogil:
    cdef cppclass atomic_int "std::atomic<int>":
        void store(int value) noexcept
        int load() noexcept

cdef extern from *:
    """
    #include <stdexcept>
    namespace inlay {
    [[noreturn]] inline void throw_stop() { throw std::runtime_error("a Python body raised"); }
    }
    """
    # C++ unwinds through its caller: to be called where no Python reference is held.
    void throw_stop "inlay::throw_stop"() noexcept nogil

cdef extern from "parallel/crew.hpp" nogil:
    ctypedef bool_t (*interrupted_t "inlay::Interrupted")() noexcept
    int crew_split "inlay::split"(
        size_t n, size_t grain, int threads, body_t body, void* context, interrupted_t interrupted
    ) except +
    int crew_thread_count "inlay::thread_count"(int requested) noexcept
    void forget_crew "inlay::forget_crew"() noexcept
    atomic_int default_threads "inlay::default_threads"


cdef int MOST_THREADS = 0x7FFFFFFF
cdef unsigned long main_thread = threading.main_thread().ident
cdef unsigned int forks = 0


cdef int split(size_t n, size_t grain, int threads, body_t body, void* context) except -1 nogil:
    return crew_split(n, grain, threads, body, context, interrupted)


cdef int thread_count(int requested) noexcept nogil:
    return crew_thread_count(requested)


cdef bool_t interrupted() noexcept nogil:
    if PyThread_get_thread_ident() != main_thread:
        return False
    with gil:
        return PyErr_CheckSignals() < 0


cdef unsigned int fork_count() noexcept nogil:
    return forks


def _after_fork():
    global main_thread, forks
    forget_crew()
    main_thread = PyThread_get_thread_ident()
    forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def set_num_threads(n):
    """Set how many threads a call uses when it is not told.

    The setting is one for the process and takes effect with the next call. A result never depends on it.

    Parameters
    ----------
    n : int, >= 1
        Threads, the calling one included; 1 computes in the calling thread alone.

    Raises
    ------
    ValueError
        If `n` is less than 1.
    """
    count = operator.index(n)
    if not 1 <= count <= MOST_THREADS:
        raise ValueError(f"the number of threads must be between 1 and {MOST_THREADS}, got {count}")
    default_threads.store(count)


def get_num_threads():
    """Return how many threads a call uses when it is not told.

    Until `set_num_threads` is called: ``INLAY_NUM_THREADS`` from the environment, otherwise the number of
    CPUs this process may use.
    """
    return default_threads.load()


cdef class _Run:
    cdef object body
    cdef object error


cdef bint piece_raised(void* context, size_t begin, size_t end, int worker) noexcept with gil:
    run = <_Run>context
    try:
        run.body(begin, end, worker)
    except BaseException as error:
        if run.error is None:
            run.error = error
        return True
    return False


cdef void run_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    if piece_raised(context, begin, end, worker):
        throw_stop()


def run(body, n, grain=1, threads=0):
    """Run a Python function over the pieces of ``range(n)``.

    What the indexes do with compiled bodies, for callers with a Python one. The function runs under the GIL,
    so this pays off only where it spends its time in code that releases it. Like all Python in threads that
    Python did not start, it must be over when the interpreter exits: do not call it from a daemon thread.

    Parameters
    ----------
    body : callable
        Called as ``body(begin, end, worker)`` once for each piece, from several threads. `worker` numbers the
        thread within this call, from 0 (the caller) to ``threads - 1``: no two pieces run at once under the
        same number.
    n : int, >= 0
        Length of the range.
    grain : int, >= 1
        Length of a piece; the last one may be shorter.
    threads : int, >= 0
        Most threads to use, the calling one included; 0 means `get_num_threads`.

    Raises
    ------
    Exception
        Whatever a body raised first. Pieces that have not been started by then are skipped.
    """
    if n < 0 or grain < 1 or not 0 <= threads <= MOST_THREADS:
        raise ValueError(f"expected n >= 0, grain >= 1 and threads >= 0, got {n}, {grain} and {threads}")
    cdef size_t length = n, piece = grain
    cdef int most = threads
    cdef _Run job = _Run()
    job.body = body
    try:
        with nogil:
            split(length, piece, most, run_piece, <void*>job)
    except RuntimeError:
        if job.error is None:
            raise
    if job.error is not None:
        raise job.error


def _initial_threads():
    given = os.environ.get("INLAY_NUM_THREADS", "").strip()
    if given:
        if given.isdecimal() and 1 <= int(given) <= MOST_THREADS:
            return int(given)
        warnings.warn(
            f"INLAY_NUM_THREADS={given!r} is not a number of threads and is ignored; give an integer >= 1",
            RuntimeWarning,
            stacklevel=2,
        )
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


set_num_threads(_initial_threads())
