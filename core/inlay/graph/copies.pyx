"""Copies: rows of which the same is stored are one vertex, and a chain leads from it through the others.

A beam that holds a vertex holds all its copies at no cost, where linked copies would each take a place in it
and a link of their neighbours. A chain gives every row the one that comes next, NONE behind the last. Its
first is the vertex: the others have no links, and no links lead to them.
"""

import numpy as np

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from ..ids cimport is_in
from .walk cimport NONE

__all__ = ["Stored", "are_copies", "are_whole", "chained", "living", "shortened"]


cdef class Stored:
    """What is stored of each row.

    Parameters
    ----------
    tables : iterable of ndarray, (n, ...)
        C-contiguous, by slot; must stay where they are.
    """

    def __init__(self, tables):
        self.tables = list(tables)
        for rows in self.tables:
            self.starts.push_back(<const uint8_t*><size_t>rows.ctypes.data)
            self.sizes.push_back(rows.strides[0])

    cdef bint same(self, uint32_t a, uint32_t b) noexcept nogil:
        cdef size_t i, size
        for i in range(self.starts.size()):
            size = self.sizes[i]
            if memcmp(self.starts[i] + a * size, self.starts[i] + b * size, size) != 0:
                return False
        return True

    cdef uint64_t digest(self, uint32_t slot) noexcept nogil:
        # Of rows that are the same the same; of others hardly ever, and it does not matter.
        cdef uint64_t digest = 0, word
        cdef const uint8_t* row
        cdef size_t i, at, size
        for i in range(self.starts.size()):
            size = self.sizes[i]
            row = self.starts[i] + slot * size
            for at in range(0, size, 8):
                word = 0
                memcpy(&word, row + at, size - at if size - at < 8 else 8)
                digest = (digest ^ word) * <uint64_t>0x9E3779B97F4A7C15
                digest ^= digest >> 29
        return digest


def chained(Stored stored not None, Py_ssize_t first, Py_ssize_t n):
    """Return (vertices, chain) of the rows from `first` on: one vertex for those that are the same.

    Returns
    -------
    vertices : uint32 (m,)
        The slots that are no copies, ascending.
    chain : uint32 (n - first,)
        The slot that comes next in the chain of each.
    """
    cdef Py_ssize_t count = n - first, i
    cdef uint32_t slot, head = 0, last = 0
    digests, links = np.empty(count, np.uint64), np.full(count, NONE, np.uint32)
    heads = np.ones(count, np.bool_)
    cdef uint64_t[::1] digest = digests
    cdef uint32_t[::1] chain = links
    cdef uint8_t[::1] is_head = heads.view(np.uint8)
    cdef const int64_t[::1] order
    with nogil:
        for i in range(count):
            digest[i] = stored.digest(<uint32_t>(first + i))
    ordered = np.argsort(digests, kind="stable")
    order = ordered
    with nogil:
        for i in range(count):
            slot = <uint32_t>(first + order[i])
            if i and digest[order[i]] == digest[order[i - 1]] and stored.same(slot, head):
                chain[last - first] = slot
                is_head[order[i]] = False
            else:
                head = slot
            last = slot
    return (np.flatnonzero(heads) + first).astype(np.uint32), links


def shortened(uint32_t[::1] chain, uint32_t n):
    """Let chains pass over the slots from n on."""
    cdef Py_ssize_t i
    cdef uint32_t coming
    with nogil:
        for i in range(<Py_ssize_t>n):
            coming = chain[i]
            while coming != NONE and coming >= n:
                coming = chain[coming]
            chain[i] = coming


def are_copies(const uint32_t[::1] chain):
    """Return which rows are not the first of their chain, uint8 (n,)."""
    cdef Py_ssize_t i
    marks = np.zeros(chain.shape[0], np.uint8)
    cdef uint8_t[::1] copy = marks
    with nogil:
        for i in range(chain.shape[0]):
            if chain[i] != NONE:
                copy[chain[i]] = True
    return marks


def are_whole(const uint32_t[::1] chain):
    """Return whether every row is in one chain, once, as only a damaged file says otherwise."""
    cdef Py_ssize_t n = chain.shape[0], met = 0, i
    cdef uint32_t slot
    led = np.asarray(chain)[np.asarray(chain) != NONE]
    if len(led) and (led.max() >= n or np.bincount(led, minlength=n).max() > 1):
        return False
    cdef const uint8_t[::1] copy = are_copies(chain)
    with nogil:
        for i in range(n):
            slot = <uint32_t>i if not copy[i] else NONE
            while slot != NONE:
                met += 1
                slot = chain[slot]
    return met == n


def living(const uint32_t[::1] chain, const uint64_t[::1] alive):
    """Return chains of the live rows alone, and which of them takes the place of each vertex.

    Returns
    -------
    chain : uint32 (n,)
    names : uint32 (n,)
        The first live row of the chain of each dead vertex; elsewhere the slot itself.
    """
    cdef Py_ssize_t n = chain.shape[0], i
    cdef uint32_t coming, last
    links, renames = np.full(n, NONE, np.uint32), np.arange(n, dtype=np.uint32)
    cdef uint32_t[::1] kept = links
    cdef uint32_t[::1] names = renames
    cdef const uint8_t[::1] copy = are_copies(chain)
    with nogil:
        for i in range(n):
            if copy[i]:
                continue
            last, coming = NONE, <uint32_t>i
            while coming != NONE:
                if is_in(&alive[0], coming):
                    if last == NONE:
                        names[i] = coming
                    else:
                        kept[last] = coming
                    last = coming
                coming = chain[coming]
    return links, renames
