"""The search of every graph index: a walk, and the last word on the best of what it found.

    few rows allowed:   score them all                  else walk with a beam of `ef`, and add the copies
    last, if any:       score the best `candidates` again, with everything there is
    the k best of them, ties by id

A filter is honoured inside: the beam is widened by the share of the rows that is allowed, so that it holds
about `ef` of them, and where that is still too few, or would cost more than looking at each of the allowed
rows, these are scored one after the other.
"""

from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libcpp.vector cimport vector

from ..scorer cimport LinkScorer, Scorer
from ..ids cimport Bits, is_in
from ..kernels.table cimport Heap
from ..kernels.table cimport key_of as row_key
from ..parallel.crew cimport split
from ..results cimport new_results, put, put_all
from .explore cimport explore
from .graph cimport Graph
from .walk cimport (
    AT_ONCE, Beam, Links, Walker, Walkers, cut, keep_best, key_of, score_of, slot_of, walk,
)

# A walk evaluates about so many vertices for each of its beam, times the degree ...
cdef double EVALUATED = 0.6
# ... and each costs it so many times what it costs in a row-by-row look at the allowed rows.
cdef double WALKING = 1.5
# A walk by estimates may end before it has found `ef` vertices, but finds this part of them, however many are
# wanted of it: else it ends where the way to the nearest leads through others (100k texts as weighted words,
# 768 dimensions: 0.954 at any ef). Elsewhere an eighth costs next to nothing, a quarter 18 % at 0.99.
cdef enum:
    PART_OF_EF = 8
# A range search looks at all rows rather than at so large a part of them.
cdef enum:
    MOST_OF = 8


cdef struct Job:
    Links links
    Walker* walkers
    void* near
    void* ahead           # null: links are scored by the rows they lead to
    void* last            # null: the scores are the last word
    size_t k, ef, candidates
    size_t wanted         # of a walk, before it may end early
    bint scanning         # look at each of the allowed rows
    const uint64_t* allowed
    size_t n_allowed
    const int64_t* ids    # of slots, for ties and results; null when id = base + slot
    int64_t base
    uint64_t* keys        # of the heaps, one a walker, with room for
    size_t heap
    float* distances
    int64_t* found


cdef extern from *:
    int first_bit "__builtin_ctzll"(uint64_t word) noexcept nogil


cdef void scan(
    Job* job, Scorer scorer, size_t query, Walker* walker, size_t most, int worker
) noexcept nogil:
    # The best of the allowed rows into the beam, whose memory has room for AT_ONCE more, or for all of them.
    cdef size_t at, n = 0, end = job.links.n
    cdef uint64_t word
    cdef Beam* beam = &walker.beam
    beam.start(walker.memory, most)
    for at in range((end + 63) // 64):
        word = job.allowed[at] if job.allowed != NULL else ~<uint64_t>0
        if at == end // 64:
            word &= (<uint64_t>1 << (end % 64)) - 1
        while word:
            walker.fresh[n] = <uint32_t>(64 * at + first_bit(word))
            word &= word - 1
            n += 1
            if n == AT_ONCE:
                append(scorer, query, walker, n, worker)
                n = 0
                if beam.size + AT_ONCE > walker.room:
                    beam.size = cut(beam.keys, beam.size, most, job.ids)
    append(scorer, query, walker, n, worker)
    beam.size = keep_best(beam.keys, beam.size, most, job.ids)


cdef inline void append(Scorer scorer, size_t query, Walker* walker, size_t n, int worker) noexcept nogil:
    cdef size_t i
    scorer.fetch(walker.fresh, n)
    scorer.near(query, walker.fresh, n, walker.scores, worker)
    walker.evaluated += n
    for i in range(n):
        if walker.scores[i] == walker.scores[i]:
            walker.beam.keys[walker.beam.size] = row_key(walker.scores[i], walker.fresh[i])
            walker.beam.size += 1


cdef void keep_allowed(Job* job, Beam* beam) noexcept nogil:
    cdef size_t i, n = 0
    for i in range(beam.size):
        if is_in(job.allowed, slot_of(beam.keys[i])):
            beam.keys[n] = beam.keys[i]
            n += 1
    beam.size = n


cdef void add_copies(Job* job, Walker* walker, size_t most) noexcept nogil:
    # The vertices of the beam and their copies, those that are allowed, into the memory behind it. Each once:
    # links of a damaged file lead to copies.
    cdef Beam* beam = &walker.beam
    cdef uint64_t* keys = walker.memory + beam.size
    cdef size_t i, n = 0
    cdef uint32_t slot
    walker.marks.n = job.links.n
    walker.marks.start()
    for i in range(beam.size):
        slot = slot_of(beam.keys[i])
        while n < most and walker.marks.take(&slot, 1, walker.fresh):
            if job.allowed == NULL or is_in(job.allowed, slot):
                keys[n] = key_of(score_of(beam.keys[i]), slot)
                n += 1
            slot = job.links.copies[slot]
    beam.keys, beam.size = keys, n


cdef inline void go(
    Job* job, size_t query, Walker* walker, size_t ef, size_t wanted, size_t most, int worker
) noexcept nogil:
    # The allowed rows that a walk finds into the beam, nearest first; `most` with copies.
    if job.ahead == NULL:
        walk(&job.links, <Scorer>job.near, query, walker, ef, worker)
    else:
        explore(&job.links, <Scorer>job.near, <LinkScorer>job.ahead, query, walker, ef, wanted, worker)
    if job.links.copies != NULL:
        add_copies(job, walker, most)
    elif job.allowed != NULL:
        keep_allowed(job, &walker.beam)


cdef void find(Job* job, size_t query, Walker* walker, int worker) noexcept nogil:
    cdef size_t wanted = job.k if job.k < job.n_allowed else job.n_allowed
    cdef bint found = False
    if not job.scanning:
        go(job, query, walker, job.ef, job.wanted, job.ef, worker)
        found = walker.beam.size >= wanted
    if not found:
        scan(job, <Scorer>job.near, query, walker, job.ef, worker)
    finish(job, query, walker, worker)


cdef inline void send_for(Job* job, const Beam* beam, size_t first, size_t most) noexcept nogil:
    cdef uint32_t[8] slots
    cdef size_t n = 0
    while n < 8 and first + n < most:
        slots[n] = slot_of(beam.keys[first + n])
        n += 1
    (<Scorer>job.last).expect(slots, n)


cdef void finish(Job* job, size_t query, Walker* walker, int worker) noexcept nogil:
    cdef Heap nearest
    cdef size_t i, done, n, most = walker.beam.size
    nearest.start(job.keys + <size_t>worker * job.heap, job.heap if job.heap < most else most, job.ids)
    if job.last == NULL:
        for i in range(most):
            nearest.push(score_of(walker.beam.keys[i]), slot_of(walker.beam.keys[i]))
    else:
        if most > job.candidates:
            most = job.candidates
        for done in range(0, most if most < 24 else 24, 8):
            send_for(job, &walker.beam, done, most)
        for done in range(0, most, 8):
            send_for(job, &walker.beam, done + 24, most)
            n = most - done if most - done < 8 else 8
            for i in range(n):
                walker.fresh[i] = slot_of(walker.beam.keys[done + i])
            (<Scorer>job.last).rows_at(query, walker.fresh, n, walker.scores, worker)
            for i in range(n):
                nearest.push(walker.scores[i], walker.fresh[i])
    nearest.finish()
    put(&nearest, job.k, job.ids, job.base, job.distances + query * job.k, job.found + query * job.k)


cdef void search_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef Job* job = <Job*>context
    cdef size_t query
    for query in range(begin, end):
        find(job, query, job.walkers + worker, worker)


cdef size_t room_of(const Job* job) noexcept nogil:
    # Any walk may end in a scan, which gathers twice as many as it keeps before it cuts, or be followed by as
    # many with copies.
    return max(2 * job.ef if job.links.copies != NULL else job.ef, min(job.n_allowed, 2 * job.ef)) + AT_ONCE


def search(
    Graph graph not None, Scorer near not None, Scorer last, Py_ssize_t k, Py_ssize_t ef,
    Py_ssize_t candidates, Bits allowed, const int64_t[::1] ids, int64_t base, Py_ssize_t n_rows, int threads,
    LinkScorer ahead=None,
):
    """Return (scores, ids) of the k nearest rows that are found for each query, smaller scores nearer.

    Parameters
    ----------
    graph : Graph
    near, last : Scorer
        Leads the walk; scores the best of what it found again (None: not).
    k : int
    ef : int
        Vertices in the beam, at least k of them.
    candidates : int
        How many `last` scores, at least k.
    allowed : Bits or None
    ids : int64 (n_slots,) or None
        The id of each slot; None for base + slot.
    n_rows : int
        Slots that have ids; the graph may hold others behind them, of a change that was interrupted.
    threads : int
        As many as the scorers were made for.
    ahead : LinkScorer or None
        Estimates the scores of a vertex's links; None: `near` scores them.

    Returns
    -------
    scores : float32 (n_queries, k), inf where there is no row
    ids : int64 (n_queries, k), -1 there
    """
    cdef Job job
    cdef Py_ssize_t n = near.n_queries
    cdef Walkers walkers
    cdef float[:, ::1] distances
    cdef int64_t[:, ::1] found
    cdef double share
    scores, labels = new_results(n, k)
    job.n_allowed = n_rows if allowed is None else allowed.count
    if n == 0 or job.n_allowed == 0:
        scores.fill(INFINITY)
        labels.fill(-1)
        return scores, labels
    distances, found = scores, labels
    job.links = graph.links()
    job.links.n = n_rows
    job.near = <void*>near
    job.ahead = <void*>ahead if ahead is not None else NULL
    job.last = <void*>last if last is not None else NULL
    job.k, job.base = k, base
    job.candidates = max(k, candidates)
    job.ids = &ids[0] if ids is not None else NULL
    job.allowed = &allowed.words[0] if allowed is not None else NULL
    ef = max(k, ef)
    share = <double>n_rows / <double>job.n_allowed
    job.scanning = job.n_allowed < WALKING * EVALUATED * graph.degree * ef * share
    job.ef = min(ef if job.scanning else <Py_ssize_t>(ef * share), n_rows)
    # Of those found in a walk with a filter, all are looked through.
    job.wanted = job.ef if allowed is not None else min(job.ef, <size_t>max(k, candidates, ef // PART_OF_EF))
    job.distances, job.found = &distances[0, 0], &found[0, 0]
    if threads > n:
        threads = n
    walkers = graph.walkers(threads, room_of(&job))
    if ahead is not None and not job.scanning:
        walkers.ready_front(job.ef)
    job.walkers = walkers.each
    # No row can lie beyond the n_rows best.
    job.heap = min(k, n_rows)
    job.keys = <uint64_t*>malloc(<size_t>threads * job.heap * sizeof(uint64_t))
    try:
        if job.keys == NULL:
            raise MemoryError
        with nogil:
            split(n, 1, threads, search_piece, &job)
    finally:
        free(job.keys)
        graph.put_back(walkers, n)
    return scores, labels


cdef struct RangeJob:
    Job search
    const float* radii
    vector[uint64_t]* keys


cdef void range_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef RangeJob* job = <RangeJob*>context
    cdef Walker* walker = job.search.walkers + worker
    cdef size_t query, ef, inside
    for query in range(begin, end):
        ef = job.search.ef
        # Wider and wider, until less than half of what was found lies within the radius.
        while ef * MOST_OF < job.search.links.n:
            go(&job.search, query, walker, ef, ef, job.search.links.n, worker)
            inside = within(job, query, walker, worker)
            if inside < ef / 2:
                break
            ef *= 2
        else:
            scan(&job.search, <Scorer>job.search.near, query, walker, job.search.n_allowed, worker)
            within(job, query, walker, worker)


cdef size_t within(RangeJob* job, size_t query, Walker* walker, int worker) noexcept nogil:
    # How many of the vertices in the beam lie within the radius; their keys become the query's.
    cdef size_t done = 0, n, i
    cdef vector[uint64_t]* keys = job.keys + query
    keys.clear()
    while done < walker.beam.size:
        n = walker.beam.size - done if walker.beam.size - done < AT_ONCE else AT_ONCE
        for i in range(n):
            walker.fresh[i] = slot_of(walker.beam.keys[done + i])
        (<Scorer>job.search.last).expect(walker.fresh, n)
        (<Scorer>job.search.last).rows_at(query, walker.fresh, n, walker.scores, worker)
        for i in range(n):
            if walker.scores[i] < job.radii[query]:
                keys.push_back(row_key(walker.scores[i], walker.fresh[i]))
        done += n
    return keys.size()


def range_search(
    Graph graph not None, Scorer near not None, Scorer last not None, const float[::1] radii, Py_ssize_t ef,
    Bits allowed, const int64_t[::1] ids, int64_t base, Py_ssize_t n_rows, int threads,
    LinkScorer ahead=None,
):
    """Return (limits, scores, ids) of the rows found whose last score is below each query's radius.

    limits : int64 (n_queries + 1,); query i's results are at limits[i] .. limits[i + 1], nearest first.
    """
    cdef RangeJob job
    cdef size_t n = near.n_queries
    cdef Walkers walkers
    cdef vector[vector[uint64_t]] keys
    keys.resize(n)
    job.search.links = graph.links()
    job.search.links.n = n_rows
    job.search.ids = NULL  # ties are settled below
    job.search.n_allowed = n_rows if allowed is None else allowed.count
    if n and job.search.n_allowed:
        job.search.near, job.search.last = <void*>near, <void*>last
        job.search.ahead = <void*>ahead if ahead is not None else NULL
        job.search.allowed = &allowed.words[0] if allowed is not None else NULL
        job.search.ef = min(ef, n_rows)
        job.radii, job.keys = &radii[0], keys.data()
        walkers = graph.walkers(threads, n_rows if job.search.links.copies == NULL else 2 * n_rows)
        if ahead is not None:
            walkers.ready_front(n_rows // MOST_OF)
        job.search.walkers = walkers.each
        try:
            with nogil:
                split(n, 1, threads, range_piece, &job)
        finally:
            graph.put_back(walkers, n)
    return put_all(keys, &ids[0] if ids is not None else NULL, base)
