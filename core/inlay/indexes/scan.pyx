"""Exhaustive search: every row is scored, a threshold turns nearly all away, the best are scored again.

    for each group of queries (and each part of the rows, when queries are too few to keep all threads busy)
        for each run of rows that fits the cache:  Scorer.block -> scores -> Best.take (threshold, compress)
    for each query:  the best `candidates`, nearest first -> Scorer.rows_at -> the k best, ties by id;
        passes over those whose scan score leaves no hope by now: Scorer.slack

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
from ..kernels.table cimport Best, Heap, active, score_of, slot_of
from ..parallel.crew cimport split
from ..results cimport put, put_all


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
# Candidates that are sent for before they are scored: their rows lie far apart, and one by one each would be
# waited for.
cdef enum:
    AHEAD = 24
# Rows in a part when one query is spread over threads: less would cost more to wake a thread than it saves.
cdef enum:
    LEAST_PART = 16384


cdef struct Job:
    void* scan            # scores of the scan
    void* last            # scores of the candidates; null when the scan's own are the last word
    size_t n_queries, n_rows, k, candidates
    size_t parts, rows_a_part
    const uint64_t* allowed
    const int64_t* ids    # of slots, for ties and results; null when id = base + slot
    int64_t base
    Best* best            # of each (worker, query of its group), or (part, query) with several parts
    uint64_t* keys
    float* scores         # RUN_SCORES a worker
    float* distances      # results
    int64_t* found


cdef inline void take(
    Job* job, Best* best, size_t query, size_t n_queries, size_t first, size_t n, float* scores, int worker
) noexcept nogil:
    # A few queries at a time: their scores are looked at while they are in the first cache.
    cdef size_t done, a, few
    for done in range(0, n_queries, 8):  # FEW
        few = n_queries - done if n_queries - done < FEW else FEW
        (<Scorer>job.scan).block(query + done, few, first, n, scores, n, worker)
        for a in range(few):
            best[done + a].take(active().collect, scores + a * n, n, <unsigned int>first, job.allowed)


cdef void scan_rows(
    Job* job, Best* best, size_t query, size_t n_queries, size_t begin, size_t end, int worker
) noexcept nogil:
    # With a filter, blocks of 16 rows that hold no allowed row are skipped.
    cdef float* scores = job.scores + <size_t>worker * RUN_SCORES
    cdef size_t most = LONG_RUN if job.n_queries <= 2 else RUN, first = begin, next, last
    while first < end:
        next = first + most if first + most < end else end
        if job.allowed == NULL:
            take(job, best, query, n_queries, first, next - first, scores, worker)
            first = next
            continue
        while first < next and not sixteen(job.allowed, first):
            first += 16
        last = first
        while last < next and sixteen(job.allowed, last):
            last += 16
        if last > end:
            last = end
        if first < last:
            take(job, best, query, n_queries, first, last - first, scores, worker)
        first = last if last > first else next


cdef inline bint sixteen(const uint64_t* bits, size_t slot) noexcept nogil:
    return (bits[slot // 64] >> (slot % 64)) & 0xFFFF != 0


cdef void settle(Job* job, Best* best) noexcept nogil:
    # Put the candidates in order, and send for the first of them: another query's work comes between.
    cdef size_t first
    best.finish()
    if job.last != NULL:
        for first in range(0, 24, 8):  # AHEAD
            send_for(job, best, first)


cdef inline void send_for(Job* job, const Best* best, size_t first) noexcept nogil:
    cdef size_t n, i
    cdef uint32_t[8] slots
    if first >= best.size:
        return
    n = best.size - first if best.size - first < 8 else 8
    for i in range(n):
        slots[i] = slot_of(best.keys[first + i])
    (<Scorer>job.last).expect(slots, n)


cdef void finish(Job* job, Best* best, size_t query, int worker) noexcept nogil:
    # From candidates to results: score again where that says more, order, translate slots to ids.
    cdef Heap nearest
    # The candidates' buffer has room for the results behind them.
    nearest.start(best.keys + best.size, best.size if best.size < job.k else job.k, job.ids)
    if job.last != NULL:
        rescore(job, best, &nearest, query, worker)
    else:
        complete(<Scorer>job.scan, best, &nearest, query)
    put(&nearest, job.k, job.ids, job.base, job.distances + query * job.k, job.found + query * job.k)


cdef void complete(Scorer scan, Best* best, Heap* nearest, size_t query) noexcept nogil:
    # Scores that differ may be equal once the part that `block` left out is added: ties are settled after
    # that.
    cdef size_t i
    cdef float score, shift = scan.shift(query)
    for i in range(best.size):
        score = score_of(best.keys[i]) + shift
        if score < scan.least:
            score = scan.least
        nearest.push(score, slot_of(best.keys[i]))
    nearest.finish()


cdef void rescore(Job* job, Best* best, Heap* nearest, size_t query, int worker) noexcept nogil:
    # Eight candidates at a time; AHEAD of them are always on their way from memory.
    cdef size_t at = 0, ahead = AHEAD, n, i
    cdef uint32_t[8] slots
    cdef float[8] scores
    n = hopeful(job, best, nearest, query, &at, slots)
    while n:
        send_for(job, best, ahead)
        ahead += 8
        (<Scorer>job.last).rows_at(query, slots, n, scores, worker)
        for i in range(n):
            nearest.push(scores[i], slots[i])
        n = hopeful(job, best, nearest, query, &at, slots)
    nearest.finish()


cdef inline size_t hopeful(
    Job* job, const Best* best, Heap* nearest, size_t query, size_t* at, uint32_t* slots
) noexcept nogil:
    # The next eight candidates, from number `at` on, that may be among the nearest for all that is known: not
    # simply all up to the first without hope, since one with a coarser grid may follow.
    cdef size_t n = 0
    cdef uint64_t key
    cdef float shift = (<Scorer>job.scan).shift(query), least
    while at[0] < best.size and n < 8:
        key = best.keys[at[0]]
        at[0] += 1
        if nearest.full():
            least = score_of(key) + shift - (<Scorer>job.scan).slack(query, slot_of(key))
            if least > nearest.worst():
                continue
        slots[n] = slot_of(key)
        n += 1
    return n


cdef void search_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef Job* job = <Job*>context
    cdef size_t piece, group, part, query, n_queries, first, last, a, room = Best.room(job.candidates), slot
    for piece in range(begin, end):
        group, part = piece // job.parts, piece % job.parts
        query = group * GROUP
        n_queries = job.n_queries - query if job.n_queries - query < GROUP else GROUP
        first = part * job.rows_a_part
        last = first + job.rows_a_part if first + job.rows_a_part < job.n_rows else job.n_rows
        slot = <size_t>worker * GROUP if job.parts == 1 else part * job.n_queries + query
        for a in range(n_queries):
            job.best[slot + a].start(job.keys + (slot + a) * room, job.candidates, job.ids)
        scan_rows(job, job.best + slot, query, n_queries, first, last, worker)
        if job.parts == 1:
            # One query's candidates arrive while another's are scored.
            settle(job, job.best + slot)
            for a in range(n_queries):
                if a + 1 < n_queries:
                    settle(job, job.best + slot + a + 1)
                finish(job, job.best + slot + a, query + a, worker)


cdef void merge_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef Job* job = <Job*>context
    cdef size_t query, part
    for query in range(begin, end):
        for part in range(1, job.parts):
            job.best[query].merge(job.best[part * job.n_queries + query])
        settle(job, job.best + query)
        finish(job, job.best + query, query, worker)


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
    cdef Job job
    cdef Py_ssize_t n = scan.n_queries
    cdef size_t groups, bests, most
    cdef float[:, ::1] distances
    cdef int64_t[:, ::1] found
    scores, labels = np.empty((n, k), np.float32), np.empty((n, k), np.int64)
    if n == 0:
        return scores, labels
    if n_rows == 0:
        scores.fill(np.inf)
        labels.fill(-1)
        return scores, labels
    distances, found = scores, labels
    # No row can lie beyond the n_rows best.
    if candidates > n_rows:
        candidates = n_rows
    job.scan, job.last = <void*>scan, <void*>last if last is not None else NULL
    job.n_queries, job.n_rows, job.k, job.candidates = n, n_rows, k, candidates
    job.base = base
    job.allowed = NULL
    job.ids = NULL
    if allowed is not None:
        job.allowed = &allowed.words[0]
    if ids is not None:
        job.ids = &ids[0]
    job.distances, job.found = &distances[0, 0], &found[0, 0]
    groups = (n + GROUP - 1) // GROUP
    job.parts = 1
    if groups < <size_t>threads:
        most = n_rows // LEAST_PART
        job.parts = most if most < <size_t>threads else threads
        if job.parts < 1:
            job.parts = 1
    job.rows_a_part = ((n_rows + job.parts - 1) // job.parts + 63) // 64 * 64
    bests = job.parts * n if job.parts > 1 else <size_t>threads * GROUP if n > GROUP else n * threads
    if n <= GROUP and job.parts == 1:
        # One piece, so worker 0 alone.
        bests = n
    job.best = <Best*>malloc(bests * sizeof(Best))
    job.keys = <uint64_t*>malloc(bests * Best.room(candidates) * sizeof(uint64_t))
    job.scores = <float*>malloc(<size_t>threads * RUN_SCORES * sizeof(float))
    try:
        if job.best == NULL or job.keys == NULL or job.scores == NULL:
            raise MemoryError
        with nogil:
            split(groups * job.parts, 1, threads, search_piece, &job)
            if job.parts > 1:
                split(n, 8, threads, merge_piece, &job)
    finally:
        free(job.best)
        free(job.keys)
        free(job.scores)
    return scores, labels


cdef struct RangeJob:
    void* last
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
            (<Scorer>job.last).rows_at(query, slots, n, scores, worker)
            found = active().collect(scores, n, job.radii[query], <unsigned int>first, job.allowed, room)
            for i in range(found):
                if score_of(room[i]) < job.radii[query]:
                    job.keys[query].push_back(room[i])


def range_search(
    Scorer last not None, Py_ssize_t n_rows, float[::1] radii, Bits allowed,
    const int64_t[::1] ids, int64_t base, int threads,
):
    """Return (limits, scores, ids) of all rows whose last score is below each query's radius, nearest first.

    limits : int64 (n_queries + 1,); query i's results are at limits[i] .. limits[i + 1].
    """
    cdef RangeJob job
    cdef size_t n = radii.shape[0]
    cdef vector[vector[uint64_t]] keys
    cdef vector[uint64_t] room
    keys.resize(n)
    room.resize(<size_t>threads * 256)
    if n and n_rows:
        job.last, job.n_rows, job.radii = <void*>last, n_rows, &radii[0]
        job.keys, job.room = keys.data(), room.data()
        job.allowed = NULL
        if allowed is not None:
            job.allowed = &allowed.words[0]
        with nogil:
            split(n, 1, threads, range_piece, &job)
    return put_all(keys, &ids[0] if ids is not None else NULL, base)
