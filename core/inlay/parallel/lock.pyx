"""The lock of an index: searches run together, a change waits for them and excludes them.

    with lock.shared(): ...       any number of threads at once, and again inside itself
    with lock.exclusive(): ...    one thread, and nobody shares

A change that waits is not overtaken by the searches that come after it, and the searches that waited for one
change run before the next. Waiting is done without the GIL and ended by Ctrl-C. The mechanism is in
``lock.hpp``.
"""

cimport cython
from libcpp.memory cimport make_shared

from .crew cimport fork_count, interrupted


@cython.final
@cython.auto_pickle(False)
cdef class Guard:
    """One way of holding a `SharedLock`, for the time of a ``with`` block."""

    def __cinit__(self, bint exclusive=False, Guard partner=None):
        # Owned together and not through the SharedLock: that would be a cycle for the garbage collector.
        self.lock = make_shared[ReadersWriterLock](fork_count) if partner is None else partner.lock
        self.exclusive = exclusive

    def __enter__(self):
        """Take the lock, waiting for it if need be.

        Raises
        ------
        RuntimeError
            If the wait would be for this thread itself.
        """
        cdef LockState* state = &self.lock.get().state()
        # Nearly always free: only a wait is worth giving the GIL away.
        cdef Outcome outcome = state.take(self.exclusive, NULL)
        if outcome == BUSY:
            with nogil:
                outcome = state.take(self.exclusive, interrupted)
        if outcome != HELD:
            refuse(outcome, self.exclusive)

    def __exit__(self, *exception):
        """Give the lock back."""
        cdef Outcome outcome = self.lock.get().state().release(self.exclusive)
        # Who was forked inside the block holds nothing any more.
        if outcome == NOT_HELD and fork_count() == 0:
            raise RuntimeError(
                "this thread does not hold the lock; leave a block in the thread that entered it"
            )


cdef int refuse(Outcome outcome, bint exclusive) except -1:
    if outcome == INTERRUPTED:
        return -1  # the signal handler's exception is set
    raise RuntimeError(
        f"this thread holds the lock {'exclusively' if outcome == INSIDE_EXCLUSIVE else 'shared'} "
        f"and would wait for itself to take it {'exclusively' if exclusive else 'shared'}; "
        "leave the block it is in before"
    )


@cython.final
@cython.auto_pickle(False)
cdef class SharedLock:
    """A lock that many threads hold shared, or one alone.

    A thread that holds it shared may take it shared again. A thread that holds it exclusively can take it in
    no way again, and one that holds it shared cannot take it exclusively: that is a `RuntimeError`, not a
    deadlock. In a child made by ``fork()`` the lock starts free.
    """

    def __cinit__(self):
        self.shared_guard = Guard(False)
        self.exclusive_guard = Guard(True, self.shared_guard)

    def shared(self):
        """Return the guard whose ``with`` block runs beside others like it."""
        return self.shared_guard

    def exclusive(self):
        """Return the guard whose ``with`` block runs alone."""
        return self.exclusive_guard
