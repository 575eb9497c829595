"""Search in lists: a few of them a query, the nearest ones, each read once for several queries.

    for each group of queries:
        for each list that some of them probe:   Scorer.block_of -> scores -> Best.take_from (threshold,
            compress, slots for places, filter)
    for each query:  the best `candidates` -> the k best    candidates.pyx

One query takes its lists nearest first, so that the threshold falls early; several take the nearest list of
each first, and then list after list. A query's candidates are exactly the best in its lists in the order
(score, id), however queries are cut into groups and lists over threads.
"""

import numpy as np

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libcpp.vector cimport vector

from ..clusters.lists cimport Lists
from ..codecs.codec cimport Scorer
from ..ids cimport Bits, is_in
from ..kernels.table cimport Best, Heap, active
from ..parallel.crew cimport split
from ..results cimport put
from .candidates cimport Placed, Search, bias, last_scores, results, run


cdef extern from "kernels/topk.hpp" namespace "inlay::topk" nogil:
    void sort_keys(uint64_t* keys, size_t n, const int64_t* ids)


# Queries that look together, at most: enough of them probe the same list for eight at a time, and their
# buffers still fit the second cache. And their visits to lists, together.
cdef enum:
    GROUP = 256
cdef Py_ssize_t VISITS = 1 << 20
# Queries whose scores of a run are made together, and rows in a run: 16 KiB of scores, half the first cache.
cdef enum:
    FEW = 8
    RUN = 512
# Rows in a part when one query is spread over threads: less would cost more to wake a thread than it saves.
cdef enum:
    LEAST_PART = 16384


cdef struct Probing:
    Search search
    void* lists
    const int64_t* probes    # of each query, nearest first
    size_t n_probes
    float* scores            # FEW * RUN a worker
    uint64_t* visits         # of a group, a worker


cdef void visit(
    Probing* job, Best** best, const uint32_t* queries, size_t n, size_t which, int worker
) noexcept nogil:
    # The rows of a list, for up to eight queries.
    cdef float* scores = job.scores + <size_t>worker * FEW * RUN
    cdef float[8] biases
    cdef size_t row = 0, end = (<Lists>job.lists).sizes[which], first = 0, length, a, i
    if job.search.to.centres != NULL:
        for a in range(n):
            biases[a] = bias(&job.search.to, queries[a], which)
    if row < end:
        (<Scorer>job.search.to.scan).enter(which, queries, n, worker)
    while row < end:
        length = min((<Lists>job.lists).run(which, row, &first), <size_t>RUN)
        (<Scorer>job.search.to.scan).block_of(queries, n, first, length, scores, RUN, worker)
        for a in range(n):
            if job.search.to.centres != NULL:
                for i in range(length):
                    scores[a * RUN + i] += biases[a]
            best[a].take_from(
                active().collect, scores + a * RUN, length, <uint32_t>first, (<Lists>job.lists).slot_of,
                job.search.allowed
            )
        row += length


cdef inline void expect(Probing* job, size_t which) noexcept nogil:
    # Lists lie far apart: one is sent for while another is read.
    cdef size_t first = 0, length
    if (<Lists>job.lists).sizes[which]:
        length = min((<Lists>job.lists).run(which, 0, &first), <size_t>RUN)
        (<Scorer>job.search.to.scan).expect_list(which, first, length)


cdef void look(
    void* source, Best* best, size_t query, size_t n_queries, size_t part, int worker
) noexcept nogil:
    cdef Probing* job = <Probing*>source
    cdef const int64_t* probes = job.probes + query * job.n_probes
    cdef uint32_t number = query
    cdef size_t rank = part
    if n_queries > 1:
        look_together(job, best, query, n_queries, worker)
        return
    while rank < job.n_probes:
        if rank + job.search.parts < job.n_probes and probes[rank + job.search.parts] >= 0:
            expect(job, probes[rank + job.search.parts])
        if probes[rank] >= 0:
            visit(job, &best, &number, 1, probes[rank], worker)
        rank += job.search.parts


cdef void look_together(
    Probing* job, Best* best, size_t query, size_t n_queries, int worker
) noexcept nogil:
    # A visit is (not the nearest list, list, query), 1 + 31 + 32 bits; sorted, those of a list are together.
    cdef uint64_t* visits = job.visits + <size_t>worker * job.search.group * job.n_probes
    cdef const int64_t* probes = job.probes + query * job.n_probes
    cdef size_t n = 0, i, a, few
    cdef Best* bests[8]
    cdef uint32_t[8] queries
    for i in range(n_queries * job.n_probes):
        if probes[i] < 0:
            continue
        visits[n] = <uint64_t>probes[i] << 32 | i // job.n_probes
        if i % job.n_probes:
            visits[n] |= <uint64_t>1 << 63
        n += 1
    sort_keys(visits, n, NULL)
    i = 0
    while i < n:
        few = 0
        while few < FEW and i + few < n and visits[i + few] >> 32 == visits[i] >> 32:
            a = <uint32_t>visits[i + few]
            queries[few] = query + a
            bests[few] = best + a
            few += 1
        if i + few < n and visits[i + few] >> 32 != visits[i] >> 32:
            expect(job, visits[i + few] >> 32 & 0x7FFFFFFF)
        visit(job, bests, queries, few, visits[i] >> 32 & 0x7FFFFFFF, worker)
        i += few


def search(
    Scorer scan not None, Scorer last, Placed placed not None, const int64_t[:, ::1] probes, Py_ssize_t k,
    Py_ssize_t candidates, Bits allowed, const int64_t[::1] ids, int64_t base, int threads,
    Py_ssize_t screened=0,
):
    """Return (scores, ids) of the k nearest rows of each query in its lists, smaller scores nearer.

    Parameters
    ----------
    scan, last : Scorer
        Scores the rows of a list, and the candidates: rows as a whole, if it is another scorer. last None:
        the scan's scores are the last word.
    placed : Placed
    probes : int64 (n_queries, n_probes)
        The lists of each query, nearest first, none twice; -1 for none, of centres in a damaged file.
    k, candidates : int
        candidates >= k.
    allowed : Bits or None
    ids : int64 (n,) or None
        The id of each slot; None for base + slot.
    threads : int
        As many as the scorers were made for.
    screened : int
        How many candidates, k at least, are left for the last scores once `near` has seen them; 0 for all.

    Returns
    -------
    scores : float32 (n_queries, k), inf where there is no row
    ids : int64 (n_queries, k), -1 there
    """
    cdef Probing job
    cdef Py_ssize_t n = scan.n_queries
    cdef size_t rows = 0
    cdef int64_t part
    scores, labels = results(
        &job.search, scan, last, k, min(candidates, max(len(placed.lists), 1)), allowed, ids, base
    )
    if not n:
        return scores, labels
    placed.into(&job.search.to)
    job.search.to.screened, job.search.to.wanted = screened, candidates
    job.search.to.whole = last is not scan
    job.lists, job.probes, job.n_probes = <void*>placed.lists, &probes[0, 0], probes.shape[1]
    job.search.look, job.search.source = look, &job
    job.search.parts = 1
    job.search.group = max(
        1, min(<Py_ssize_t>GROUP, (n + threads - 1) // threads, VISITS // probes.shape[1])
    )
    if n == 1 and threads > 1:
        for part in probes[0]:
            rows += rows_in(placed.lists, part, NULL) if part >= 0 else 0
        job.search.parts = max(<size_t>1, min(rows // LEAST_PART, <size_t>threads))
    job.scores = <float*>malloc(<size_t>threads * FEW * RUN * sizeof(float))
    job.visits = <uint64_t*>malloc(<size_t>threads * job.search.group * job.n_probes * sizeof(uint64_t))
    try:
        if job.scores == NULL or job.visits == NULL:
            raise MemoryError
        run(&job.search, threads)
    finally:
        free(job.scores)
        free(job.visits)
    return scores, labels


cdef size_t rows_in(Lists lists, size_t which, const uint64_t* allowed) noexcept nogil:
    # How many rows of a list are allowed.
    cdef size_t row = 0, size = lists.sizes[which], first = 0, length, i, found = 0
    if allowed == NULL:
        return size
    while row < size:
        length = lists.run(which, row, &first)
        for i in range(first, first + length):
            found += is_in(allowed, lists.slot_of[i])
        row += length
    return found


def short_of(
    Lists lists not None, const int64_t[:, ::1] probes, Bits allowed, Py_ssize_t wanted
):
    """Return whose lists hold fewer than `wanted` allowed rows in all, bool (n_queries,); None if none do."""
    cdef Py_ssize_t query, rank, n = probes.shape[0], n_probes = probes.shape[1], total, n_short = 0
    cdef const uint64_t* words = &allowed.words[0] if allowed is not None else NULL
    cdef vector[int64_t] known
    cdef vector[uint8_t] short
    cdef int64_t which
    short.assign(n, False)
    if words != NULL:
        known.assign(lists.n_lists, -1)
    with nogil:
        for query in range(n):
            total = rank = 0
            while total < wanted and rank < n_probes:
                which = probes[query, rank]
                rank += 1
                if which < 0:
                    continue
                if words == NULL:
                    total += lists.sizes[which]
                    continue
                if known[which] < 0:
                    known[which] = rows_in(lists, which, words)
                total += known[which]
            short[query] = total < wanted
            n_short += total < wanted
    if not n_short:
        return None
    return np.array(short, np.bool_)


cdef struct Among:
    Search search
    const uint32_t* slots
    size_t n_slots
    uint64_t* keys     # k a worker


cdef void among_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef Among* job = <Among*>context
    cdef size_t query, first, n, i, k = job.search.to.k
    cdef float[64] scores
    cdef Heap nearest
    for query in range(begin, end):
        nearest.start(job.keys + <size_t>worker * k, k, job.search.to.ids)
        for first in range(0, job.n_slots, 64):
            n = min(job.n_slots - first, <size_t>64)
            last_scores(&job.search.to, query, job.slots + first, n, scores, worker)
            for i in range(n):
                nearest.push(scores[i], job.slots[first + i])
        nearest.finish()
        put(
            &nearest, k, job.search.to.ids, job.search.to.base, job.search.to.distances + query * k,
            job.search.to.found + query * k
        )


def search_among(
    Scorer last not None, Placed placed not None, Py_ssize_t k, Bits allowed not None,
    const int64_t[::1] ids, int64_t base, int threads,
):
    """Return (scores, ids) of the k nearest allowed rows of each query, of which each one is scored."""
    cdef Among job
    cdef Py_ssize_t n = last.n_queries
    cdef const uint32_t[::1] slots
    scores, labels = results(&job.search, last, last, k, k, allowed, ids, base)
    if not n:
        return scores, labels
    placed.into(&job.search.to)
    bits = np.unpackbits(allowed.array.view(np.uint8), count=allowed.n, bitorder="little")
    slots = np.flatnonzero(bits).astype(np.uint32)
    job.slots, job.n_slots = &slots[0] if slots.shape[0] else NULL, slots.shape[0]
    job.keys = <uint64_t*>malloc(<size_t>threads * k * sizeof(uint64_t))
    try:
        if job.keys == NULL:
            raise MemoryError
        with nogil:
            split(n, 1, threads, among_piece, &job)
    finally:
        free(job.keys)
    return scores, labels
