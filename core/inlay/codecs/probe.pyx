"""Scorers callable from Python, a query and a list of rows at a time, and coders of links, a link at a time.

The functions here exist for tests and measurements, like those of kernels/table.pyx; the package itself calls
scorers without the GIL.
"""

import numpy as np

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ..scorer cimport LinkScorer, Scorer
from .rabitq cimport Factors, LinkCoder


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


def block(Scorer scorer not None, Py_ssize_t query, Py_ssize_t first, Py_ssize_t n, int worker=0):
    """Return the scores (n,) of a run of rows as a scan has them, the query's shift included."""
    out = np.empty(n, np.float32)
    cdef float[::1] view = out
    if n:
        check(scorer, query)
        with nogil:
            scorer.block(query, 1, first, n, &view[0], n, worker)
        out += scorer.shift(query)
    return out


def apart(Scorer pairs not None, uint32_t slot, slots, int worker=0):
    """Return the squared L2 distances (n,) from the row in a slot to those in slots, all of them there."""
    check(pairs, worker)
    pairs.aim(worker, slot)
    return near(pairs, worker, slots, worker)


def link_code(LinkCoder coder not None, const float[::1] to, const float[::1] centre, bint squared_l2,
              float more=0):
    """Return the codes (planes, groups) of the step from `centre` to `to`, its `add` and its `rescale`."""
    if to.shape[0] != coder.dim or centre.shape[0] != coder.dim:
        raise ValueError(f"rows must have {coder.dim} dimensions")
    codes, desk = np.empty((coder.planes, coder.groups), np.uint8), scratch_of(coder)
    cdef uint8_t[:, ::1] view = codes
    cdef uint8_t[::1] scratch = desk
    cdef Factors factors = coder.code(squared_l2, &to[0], &centre[0], more, &view[0, 0], &scratch[0])
    return codes, np.float32(factors.add), np.float32(factors.rescale)


def link_tables(LinkCoder coder not None, const float[::1] y):
    """Return the tables (groups, entries) of a query in the frame of the rows, their step and their shift."""
    cdef float step, shift
    if y.shape[0] != coder.dim:
        raise ValueError(f"queries must have {coder.dim} dimensions")
    tables, desk = np.empty((coder.groups, coder.entries), np.uint8), scratch_of(coder)
    cdef uint8_t[:, ::1] view = tables
    cdef uint8_t[::1] scratch = desk
    coder.look_up(&y[0], &view[0, 0], &step, &shift, &scratch[0])
    return tables, np.float32(step), np.float32(shift)


def link_scores(LinkScorer ahead not None, Py_ssize_t query, uint32_t vertex, float score, float worst):
    """Return the estimates (degree,) of the links of a vertex with this score, and which lie below worst.

    Query and vertex must be there.
    """
    out, below = np.empty(ahead.blocks * ahead.lanes, np.float32), np.empty(ahead.blocks, np.uint64)
    cdef float[::1] view = out
    cdef uint64_t[::1] words = below
    with nogil:
        ahead.fetch(vertex)
        ahead.score(query, vertex, score, worst, &view[0], &words[0])
    bits = below[:, None] >> np.arange(ahead.lanes, dtype=np.uint64) & np.uint64(1)
    return out, bits.astype(bool).reshape(-1)


cdef scratch_of(LinkCoder coder):
    # From a cache line on.
    room = np.empty(coder.scratch + 64, np.uint8)
    return room[-room.ctypes.data % 64 :][: coder.scratch]


cdef int check(Scorer scorer, Py_ssize_t query) except -1:
    if not 0 <= query < scorer.n_queries:
        raise ValueError(f"there is no query {query}")
    return 0
