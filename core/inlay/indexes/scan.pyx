"""Exhaustive search: every row is scored, a threshold turns nearly all away, the best are scored again.

    for each group of queries (and each part of the rows, when queries are too few to keep all threads busy)
        for each run of rows that fits the cache:  Scorer.block -> scores -> Best.take (threshold, compress)
    for each query:  the best `candidates` -> the k best    candidates.pyx

Any codec with a `Scorer` is searched by this one loop. Results depend neither on how rows and queries are cut
into runs nor on the number of threads: each query's candidates are exactly its best ones in the order (score,
id).
"""

import numpy as np

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libcpp.vector cimport vector

from ..codecs.codec cimport Scorer
from ..ids cimport Bits
from ..kernels.table cimport Best, active, score_of
from ..parallel.crew cimport split
from ..results cimport put_all
from .candidates cimport Outcome, Placed, Search, last_scores, results, run


# Queries that pass over the rows together: the rows then come from memory once for all of them.
cdef enum:
    GROUP = 64
# Queries whose scores of a run are made and looked at together, and rows in a run: 16 KiB of scores, half
# the first cache. A query or two take longer runs, whose codes come from memory in one stream.
cdef enum:
    FEW = 8
    RUN = 512
    LONG_RUN = 4096
    RUN_SCORES = 8192
# Rows in a part when one query is spread over threads: less would cost more to wake a thread than it saves.
cdef enum:
    LEAST_PART = 16384


cdef struct Rows:
    Search search
    size_t n_rows, rows_a_part
    float* scores         # RUN_SCORES a worker


cdef inline void take(
    Rows* rows, Best* best, size_t query, size_t n_queries, size_t first, size_t n, float* scores, int worker
) noexcept nogil:
    # A few queries at a time: their scores are looked at while they are in the first cache.
    cdef size_t done, a, few
    for done in range(0, n_queries, 8):  # FEW
        few = n_queries - done if n_queries - done < FEW else FEW
        (<Scorer>rows.search.to.scan).block(query + done, few, first, n, scores, n, worker)
        for a in range(few):
            best[done + a].take(
                active().collect, scores + a * n, n, <unsigned int>first, rows.search.allowed
            )


cdef void look(
    void* source, Best* best, size_t query, size_t n_queries, size_t part, int worker
) noexcept nogil:
    # With a filter, blocks of 16 rows that hold no allowed row are skipped.
    cdef Rows* rows = <Rows*>source
    cdef const uint64_t* allowed = rows.search.allowed
    cdef float* scores = rows.scores + <size_t>worker * RUN_SCORES
    cdef size_t most = LONG_RUN if rows.search.n_queries <= 2 else RUN, next, last
    cdef size_t first = part * rows.rows_a_part, end = first + rows.rows_a_part
    if end > rows.n_rows:
        end = rows.n_rows
    while first < end:
        next = first + most if first + most < end else end
        if allowed == NULL:
            take(rows, best, query, n_queries, first, next - first, scores, worker)
            first = next
            continue
        while first < next and not sixteen(allowed, first):
            first += 16
        last = first
        while last < next and sixteen(allowed, last):
            last += 16
        if last > end:
            last = end
        if first < last:
            take(rows, best, query, n_queries, first, last - first, scores, worker)
        first = last if last > first else next


cdef inline bint sixteen(const uint64_t* bits, size_t slot) noexcept nogil:
    return (bits[slot // 64] >> (slot % 64)) & 0xFFFF != 0


def search(
    Scorer scan not None, Scorer last, Py_ssize_t n_rows, Py_ssize_t k, Py_ssize_t candidates, Bits allowed,
    const int64_t[::1] ids, int64_t base, int threads,
):
    """Return (scores, ids) of the k nearest rows of each query, smaller scores nearer.

    Parameters
    ----------
    scan, last : Scorer
        Scores every row, and the candidates; last None: the scan's scores are the last word.
    n_rows, k, candidates : int
        candidates >= k.
    allowed : Bits or None
    ids : int64 (n_rows,) or None
        The id of each slot; None for base + slot.
    threads : int
        As many as the scorers were made for.

    Returns
    -------
    scores : float32 (n_queries, k), inf where there is no row
    ids : int64 (n_queries, k), -1 there
    """
    cdef Rows rows
    cdef size_t groups = (scan.n_queries + GROUP - 1) // GROUP, most = n_rows // LEAST_PART
    # No row can lie beyond the n_rows best.
    scores, labels = results(
        &rows.search, scan, last, k, min(candidates, n_rows), allowed, ids, base
    )
    if n_rows == 0:
        scores.fill(np.inf)
        labels.fill(-1)
    if n_rows == 0 or not groups:
        return scores, labels
    rows.n_rows = n_rows
    rows.search.look, rows.search.source, rows.search.group, rows.search.parts = look, &rows, GROUP, 1
    if groups < <size_t>threads and most > 1:
        rows.search.parts = min(most, <size_t>threads)
    rows.rows_a_part = ((n_rows + rows.search.parts - 1) // rows.search.parts + 63) // 64 * 64
    rows.scores = <float*>malloc(<size_t>threads * RUN_SCORES * sizeof(float))
    try:
        if rows.scores == NULL:
            raise MemoryError
        run(&rows.search, threads)
    finally:
        free(rows.scores)
    return scores, labels


cdef struct RangeJob:
    Outcome to
    size_t n_rows
    const uint64_t* allowed
    float* radii           # scores below are in
    vector[uint64_t]* keys  # of each query
    uint64_t* room         # 256 keys a worker


cdef void range_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef RangeJob* job = <RangeJob*>context
    cdef size_t query, first, n, i, found
    cdef uint32_t[256] slots
    cdef float[256] scores
    cdef uint64_t* room = job.room + <size_t>worker * 256
    for query in range(begin, end):
        for first in range(0, job.n_rows, 256):
            n = job.n_rows - first if job.n_rows - first < 256 else 256
            for i in range(n):
                slots[i] = first + i
            last_scores(&job.to, query, slots, n, scores, worker)
            found = active().collect(scores, n, job.radii[query], <unsigned int>first, job.allowed, room)
            for i in range(found):
                if score_of(room[i]) < job.radii[query]:
                    job.keys[query].push_back(room[i])


def range_search(
    Scorer last not None, Py_ssize_t n_rows, float[::1] radii, Bits allowed,
    const int64_t[::1] ids, int64_t base, int threads, Placed placed=None,
):
    """Return (limits, scores, ids) of all rows whose last score is below each query's radius, nearest first.

    limits : int64 (n_queries + 1,); query i's results are at limits[i] .. limits[i + 1].
    placed : Placed, optional
        Where the rows lie, if not where their slots say.
    """
    cdef RangeJob job
    cdef size_t n = radii.shape[0]
    cdef vector[vector[uint64_t]] keys
    cdef vector[uint64_t] room
    keys.resize(n)
    room.resize(<size_t>threads * 256)
    if n and n_rows:
        job.to.last, job.n_rows, job.radii = <void*>last, n_rows, &radii[0]
        job.to.place_of = NULL
        if placed is not None:
            placed.into(&job.to)
        job.keys, job.room = keys.data(), room.data()
        job.allowed = &allowed.words[0] if allowed is not None else NULL
        with nogil:
            split(n, 1, threads, range_piece, &job)
    return put_all(keys, &ids[0] if ids is not None else NULL, base)
