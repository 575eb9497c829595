"""What every search has in common: buffers of candidates, and the way from these to results.

    for each group of queries (and each part of what there is):  look, which fills a buffer a query
    for each query:  the best `candidates`, nearest first -> Scorer.rows_at -> the k best, ties by id;
        passes over those whose scan score leaves no hope by now: Scorer.slack

Candidates are keyed by slots, so that ties go by id. Where rows lie elsewhere (`Placed`: in lists), their
places are looked up for scorers; and where lists hold codes of what centres leave of rows, the part of a
score that comes from the centre is added here:

    -<q, c + r> = -<q, c> - <q, r>            |q - c - r|^2 = -2 <q, c> + (|q|^2 - 2 <q, r> + |c + r|^2)
"""

from libc.math cimport INFINITY, sqrt
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from ..codecs.codec cimport Scorer
from ..ids cimport Bits
from ..kernels.table cimport Best, Heap, active, score_of, slot_of
from ..parallel.crew cimport split
from ..results cimport new_results, put

# Of `screen`: how many candidates show what their scores are off by, and how many deviations of that one must
# lie behind to be without hope.
cdef enum:
    LEARNT = 32
cdef double DEVIATIONS = 4
# Candidates that are sent for before they are scored: their rows lie far apart, and one by one each would be
# waited for.
cdef enum:
    AHEAD = 24


cdef class Placed:
    """Rows that lie in lists, perhaps as what centres leave of them.

    Parameters
    ----------
    lists : Lists
    squared_l2 : bool
        Else inner product.
    queries, centres : float32 (n_queries, dim) and (n_lists, dim), or None
        What the codes are about; None where rows are coded whole.
    by_slot : bool
        The last scores are of rows that lie by slot.
    """

    def __init__(self, Lists lists not None, bint squared_l2, queries=None, centres=None, bint by_slot=False):
        self.lists, self.squared_l2, self.queries, self.centres = lists, squared_l2, queries, centres
        self.by_slot = by_slot

    cdef void into(self, Outcome* to) noexcept:
        to.place_of = self.lists.place_of
        if self.by_slot:
            to.place_of = NULL
        to.least = 0.0 if self.squared_l2 else -INFINITY
        to.centres = NULL
        to.whole = False
        if self.centres is not None and self.queries.shape[0]:
            to.centres, to.queries = &self.centres[0, 0], &self.queries[0, 0]
            to.owner_of, to.page = self.lists.owners.data(), self.lists.page
            to.dim, to.factor = self.centres.shape[1], 2.0 if self.squared_l2 else 1.0


cdef struct Buffers:
    Search* search
    Best* best      # of each (worker, query of its group), or (part, query) with several parts
    uint64_t* keys


cdef void search_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef Buffers* buffers = <Buffers*>context
    cdef Search* search = buffers.search
    cdef size_t piece, part, query, n, a, room = Best.room(search.candidates), slot
    cdef Best* best
    for piece in range(begin, end):
        query, part = piece // search.parts * search.group, piece % search.parts
        n = search.n_queries - query if search.n_queries - query < search.group else search.group
        slot = <size_t>worker * search.group if search.parts == 1 else part * search.n_queries + query
        best = buffers.best + slot
        for a in range(n):
            best[a].start(buffers.keys + (slot + a) * room, search.candidates, search.to.ids)
        search.look(search.source, best, query, n, part, worker)
        if search.parts == 1:
            # One query's candidates arrive while another's are scored.
            settle(&search.to, best)
            for a in range(n):
                if a + 1 < n:
                    settle(&search.to, best + a + 1)
                finish(&search.to, best + a, query + a, worker)


cdef void merge_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef Buffers* buffers = <Buffers*>context
    cdef Search* search = buffers.search
    cdef size_t query, part
    for query in range(begin, end):
        for part in range(1, search.parts):
            buffers.best[query].merge(buffers.best[part * search.n_queries + query])
        settle(&search.to, buffers.best + query)
        finish(&search.to, buffers.best + query, query, worker)


cdef int run(Search* search, int threads) except -1:
    cdef Buffers buffers
    cdef size_t groups = (search.n_queries + search.group - 1) // search.group, n
    if search.parts > 1:
        n = search.parts * search.n_queries
    else:
        # One piece is worker 0's alone.
        n = (search.group if search.group < search.n_queries else search.n_queries)
        n = n if groups == 1 else threads * search.group
    buffers.search = search
    buffers.best = <Best*>malloc(n * sizeof(Best))
    buffers.keys = <uint64_t*>malloc(n * Best.room(search.candidates) * sizeof(uint64_t))
    try:
        if buffers.best == NULL or buffers.keys == NULL:
            raise MemoryError
        with nogil:
            split(groups * search.parts, 1, threads, search_piece, &buffers)
            if search.parts > 1:
                split(search.n_queries, 8, threads, merge_piece, &buffers)
    finally:
        free(buffers.best)
        free(buffers.keys)
    return 0


cdef tuple results(
    Search* search, Scorer scan, Scorer last, Py_ssize_t k, Py_ssize_t candidates, Bits allowed,
    const int64_t[::1] ids, int64_t base
):
    cdef Py_ssize_t n = scan.n_queries
    cdef float[:, ::1] distances
    cdef int64_t[:, ::1] found
    scores, labels = new_results(n, k)
    search.to.scan, search.to.last = <void*>scan, <void*>last if last is not None else NULL
    search.to.least, search.to.k, search.to.base = scan.least, k, base
    search.to.ids = &ids[0] if ids is not None else NULL
    search.to.place_of = NULL
    search.to.centres = NULL
    search.to.wanted = candidates
    search.to.screened = 0
    search.n_queries, search.candidates = n, candidates
    search.allowed = &allowed.words[0] if allowed is not None else NULL
    if n:
        distances, found = scores, labels
        search.to.distances, search.to.found = &distances[0, 0], &found[0, 0]
    return scores, labels


cdef float bias(const Outcome* to, size_t query, size_t centre) noexcept nogil:
    cdef float product
    active().negative_ip(
        to.queries + query * to.dim, 1, to.centres + centre * to.dim, 1, to.dim, &product, 1
    )
    return to.factor * product


cdef void settle(const Outcome* to, Best* best) noexcept nogil:
    # Put the candidates in order, and send for the first of them: another query's work comes between this
    # and `finish`.
    cdef size_t first
    best.finish()
    if to.last != NULL:
        for first in range(0, 24, 8):  # AHEAD
            send_for(to, best, first)


cdef inline uint32_t place_of(const Outcome* to, uint32_t slot) noexcept nogil:
    return slot if to.place_of == NULL else to.place_of[slot]


cdef inline void send_for(const Outcome* to, const Best* best, size_t first) noexcept nogil:
    cdef size_t n, i
    cdef uint32_t[8] places
    if first >= best.size:
        return
    n = best.size - first if best.size - first < 8 else 8
    for i in range(n):
        places[i] = place_of(to, slot_of(best.keys[first + i]))
    if to.screened:
        (<Scorer>to.last).fetch(places, n)
    else:
        (<Scorer>to.last).expect(places, n)


cdef void finish(const Outcome* to, Best* best, size_t query, int worker) noexcept nogil:
    # Score again where that says more, order, translate slots to ids.
    cdef Heap nearest
    # The candidates' buffer has room for the results behind them.
    nearest.start(best.keys + best.size, best.size if best.size < to.k else to.k, to.ids)
    if to.last == NULL:
        complete(to, best, &nearest, query)
    elif to.screened:
        screen(to, best, &nearest, query, worker)
    else:
        rescore(to, best, &nearest, query, worker)
    put(&nearest, to.k, to.ids, to.base, to.distances + query * to.k, to.found + query * to.k)


cdef void complete(const Outcome* to, Best* best, Heap* nearest, size_t query) noexcept nogil:
    # Scores that differ may be equal once the part that `block` left out is added: ties are settled after
    # that.
    cdef size_t i
    cdef float score, shift = (<Scorer>to.scan).shift(query)
    for i in range(best.size):
        score = score_of(best.keys[i]) + shift
        if score < to.least:
            score = to.least
        nearest.push(score, slot_of(best.keys[i]))
    nearest.finish()


cdef void rescore(const Outcome* to, Best* best, Heap* nearest, size_t query, int worker) noexcept nogil:
    # Eight candidates at a time; AHEAD of them are always on their way from memory.
    cdef size_t at = 0, ahead = AHEAD, n, i
    cdef uint32_t[8] slots
    cdef float[8] scores
    n = hopeful(to, best, nearest, query, &at, slots)
    while n:
        send_for(to, best, ahead)
        ahead += 8
        last_scores(to, query, slots, n, scores, worker)
        for i in range(n):
            nearest.push(scores[i], slots[i])
        n = hopeful(to, best, nearest, query, &at, slots)
    nearest.finish()


cdef void screen(const Outcome* to, Best* best, Heap* nearest, size_t query, int worker) noexcept nogil:
    # Twice: quickly by the first level of rows' codes, then those that are left with everything. Ends early
    # where the candidates' scores, less what they were off by so far, leave the others no chance; but not
    # where all that was found is to be looked at.
    cdef size_t at = 0, first, n, i
    cdef bint hurries = best.size >= to.wanted
    cdef uint32_t[8] slots
    cdef float[8] scores
    cdef float shift = (<Scorer>to.scan).shift(query), error
    cdef double total = 0, square = 0, mean, deviation
    cdef Heap left
    left.start(best.keys + best.size, best.size if best.size < to.screened else to.screened, to.ids)
    while at < best.size:
        n = slots_from(best, at, slots)
        if hurries and at >= LEARNT and left.full():
            mean = total / at
            deviation = sqrt(max(square / at - mean * mean, 0.0))
            if score_of(best.keys[at]) + shift + mean - DEVIATIONS * deviation > left.worst():
                break
        send_for(to, best, at + AHEAD)
        (<Scorer>to.last).near(query, slots, n, scores, worker)
        for i in range(n):
            error = scores[i] - score_of(best.keys[at + i]) - shift
            total += error
            square += <double>error * error
            left.push(scores[i], slots[i])
        at += n
    # The candidates are done with, and leave their room.
    nearest.start(best.keys, left.size if left.size < to.k else to.k, to.ids)
    for first in range(0, left.size, 8):
        n = left.size - first if left.size - first < 8 else 8
        for i in range(n):
            slots[i] = slot_of(left.keys[first + i])
        (<Scorer>to.last).rows_at(query, slots, n, scores, worker)
        for i in range(n):
            nearest.push(scores[i], slots[i])
    nearest.finish()


cdef inline size_t slots_from(const Best* best, size_t first, uint32_t* slots) noexcept nogil:
    # The slots of up to eight candidates; returns how many.
    cdef size_t n = best.size - first if best.size - first < 8 else 8, i
    for i in range(n):
        slots[i] = slot_of(best.keys[first + i])
    return n


cdef inline size_t hopeful(
    const Outcome* to, const Best* best, Heap* nearest, size_t query, size_t* at, uint32_t* slots
) noexcept nogil:
    # The next eight candidates, from number `at` on, that may be among the nearest for all that is known: not
    # simply all up to the first without hope, since one with a coarser grid may follow.
    cdef size_t n = 0
    cdef uint64_t key
    cdef float shift = (<Scorer>to.scan).shift(query), least
    while at[0] < best.size and n < 8:
        key = best.keys[at[0]]
        at[0] += 1
        if nearest.full():
            least = score_of(key) + shift - (<Scorer>to.scan).slack(query, place_of(to, slot_of(key)))
            if least > nearest.worst():
                continue
        slots[n] = slot_of(key)
        n += 1
    return n


cdef void last_scores(
    const Outcome* to, size_t query, const uint32_t* slots, size_t n, float* out, int worker
) noexcept nogil:
    cdef uint32_t[256] places
    cdef size_t i
    if to.place_of == NULL:
        (<Scorer>to.last).rows_at(query, slots, n, out, worker)
        return
    for i in range(n):
        places[i] = to.place_of[slots[i]]
    (<Scorer>to.last).rows_at(query, places, n, out, worker)
    if to.centres == NULL or to.whole:
        return
    for i in range(n):
        out[i] += bias(to, query, to.owner_of[places[i] // to.page])
        if out[i] < to.least:
            out[i] = to.least
