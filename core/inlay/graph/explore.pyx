"""Beam search by estimates: a vertex's own row says about how far its links lead, and nothing else is read.

    beam = the entries
    while the beam holds a vertex that is not expanded, and that may be among the nearest:
        v = the best of them -> send for its row
        its score, now that it is there -> among those found
        estimates of all its links in one pass -> those that are good enough into the beam

So a score costs a row that is fetched, as in walk.pyx, but of the expanded vertices only. A vertex comes up
once for each that links to it, with another estimate each time, and the least of them counts.

Source: Gou et al., SymphonyQG, SIGMOD 2025, section 3.2.
"""

from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ..kernels.table cimport (
    Front, active, known_of, learn, limit_of, pop, prefetch_bytes, push, start_front, take,
)
from ..scorer cimport LinkScorer, Scorer
from .walk cimport AT_ONCE, NONE, Beam, Links, Walker, score_of, slot_of


# The walk begins at so many of the entries, the nearest: more would only take places from what they lead to.
cdef enum:
    BEGINNINGS = 4


cdef void enter(
    const Links* links, Scorer scorer, size_t query, Walker* walker, Front* front, int worker
) noexcept nogil:
    cdef size_t first, n, i
    cdef Beam nearest
    cdef uint64_t[BEGINNINGS + 1] keys
    nearest.start(keys, BEGINNINGS)
    for first in range(0, links.n_entries, 64):  # AT_ONCE
        n = links.n_entries - first if links.n_entries - first < AT_ONCE else AT_ONCE
        scorer.fetch(links.entries + first, n)
        scorer.near(query, links.entries + first, n, walker.scores, worker)
        walker.evaluated += n
        for i in range(n):
            nearest.push(walker.scores[i], links.entries[first + i])
    for i in range(nearest.size):
        push(front[0], score_of(keys[i]), slot_of(keys[i]))


cdef void explore(
    const Links* links, Scorer scorer, LinkScorer ahead, size_t query, Walker* walker, size_t most,
    size_t wanted, int worker
) noexcept nogil:
    cdef Front front
    cdef Beam* found = &walker.beam
    cdef uint32_t coming = NONE, here = NONE
    cdef const uint32_t* places
    cdef float score, estimate = 0, expected = 0, limit = INFINITY
    cdef uint64_t[16] below  # MOST_LINKS / 32
    cdef size_t block
    # No more than this walk needs: the keys are cleared first.
    start_front(
        front, walker.front, most, walker.known, known_of(most), active().least, active().greatest
    )
    found.start(walker.memory, wanted)
    if links.n_entries:
        enter(links, scorer, query, walker, &front, worker)
    # Two vertices are under way at any time: one whose row is being sent for, one whose links are scored.
    while True:
        if found.size == wanted:
            limit = limit_of(front, score_of(found.keys[wanted - 1]))
        if pop(front, limit, &coming, &expected):
            scorer.fetch(&coming, 1)
            ahead.fetch(coming)
            prefetch_bytes(<const uint8_t*>(links.places + coming * links.degree), 4 * links.degree)
        elif here == NONE:
            break
        else:
            coming = NONE
        if here != NONE:
            scorer.near(query, &here, 1, &score, worker)
            learn(front, score, estimate)
            found.push(score, here)
            ahead.score(query, here, score, min(limit, front.worst), walker.scores, below)
            places = links.places + here * links.degree
            for block in range(ahead.blocks):
                take(
                    front, walker.scores + ahead.lanes * block, below[block], places + ahead.lanes * block,
                    links.n,
                )
            walker.expanded += 1
            walker.evaluated += links.degree
        here, estimate = coming, expected
