"""Scorers callable from Python, a query and a list of rows at a time.

The functions here exist for tests and measurements, like those of kernels/table.pyx; the package itself calls
scorers without the GIL.
"""

import numpy as np

from libc.stdint cimport uint32_t

from .codec cimport Scorer


def near(Scorer scorer not None, Py_ssize_t query, const uint32_t[::1] slots, int worker=0):
    """Return the scores (n,) that a walk goes by of the rows in slots, which must be there."""
    out = np.empty(slots.shape[0], np.float32)
    cdef float[::1] view = out
    if out.size:
        check(scorer, query)
        with nogil:
            scorer.fetch(&slots[0], slots.shape[0])
            scorer.near(query, &slots[0], slots.shape[0], &view[0], worker)
    return out


def rows_at(Scorer scorer not None, Py_ssize_t query, const uint32_t[::1] slots, int worker=0):
    """Return the best scores (n,) of the rows in slots, which must be there."""
    out = np.empty(slots.shape[0], np.float32)
    cdef float[::1] view = out
    if out.size:
        check(scorer, query)
        with nogil:
            scorer.expect(&slots[0], slots.shape[0])
            scorer.rows_at(query, &slots[0], slots.shape[0], &view[0], worker)
    return out


def apart(Scorer pairs not None, uint32_t slot, slots, int worker=0):
    """Return the squared L2 distances (n,) from the row in a slot to those in slots, all of them there."""
    check(pairs, worker)
    pairs.aim(worker, slot)
    return near(pairs, worker, slots, worker)


cdef int check(Scorer scorer, Py_ssize_t query) except -1:
    if not 0 <= query < scorer.n_queries:
        raise ValueError(f"there is no query {query}")
    return 0
