"""How vertices are linked: in rounds, each the same for any number of threads.

    in a random order, a round of vertices at a time, at most a GROWTH-th of those that are there:
        for each of them, on the graph as it was before the round:  walk to it -> choose among what was found
        those that are copies of a vertex they came across go into its chain instead
        all others offer themselves to those they chose
        for each that was offered some:  append them, or choose anew among its links and the offers

`choose` is the diversity rule. Of candidates, nearest first, it keeps one unless a kept one is nearer to it
than the vertex is: what lies in the same direction is reached through the nearest there. Distances are
squared and zero at identity, which makes `occlusion` times the squared distance a comparison of lengths;
estimates below zero count as zero. Equal rows are special: nothing is reached through them that is not as
near from the vertex itself, so one of them is kept and shadows its equals alone. Inner products (inner.pyx)
are compared as they are. Places that are left are filled up with the nearest of the others.

Sources: Malkov and Yashunin 2016, algorithm 4; Jayaram Subramanya et al., DiskANN, NeurIPS 2019, section 2.2
(occlusion); Dobson Manohar et al., ParlayANN, PPoPP 2024, section 3 (rounds).
"""

import numpy as np

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t
from libcpp.algorithm cimport sort
from libcpp.vector cimport vector

from ..scorer cimport Scorer
from ..parallel.crew cimport split
from .copies cimport Stored
from .graph cimport Before, Graph
from .inner cimport InnerPairs
from .walk cimport NONE, Walker, Walkers, key_of, score_of, slot_of, walk

from .copies import chained
from .graph import entries_of, sampled_entries

# The vertices of a round do not see each other: they are at most a fourth of what is there, and a sixteenth
# of what there will be. Smaller rounds make no better graph, down to single vertices (20k text embeddings:
# recall 0.9896 so, 0.9891 one by one), and choose anew for each offer what is chosen once here (twice the
# time).
GROWTH = 4
ROUNDS = 16
# So many of the first are compared with each other, each with all.
FIRST = 256
cdef inline float positive(float x) noexcept nogil:
    return x if x > 0 else 0


cdef size_t choose(Job* job, Desk* desk, int worker, uint32_t* places) noexcept nogil:
    cdef size_t degree = job.links.degree, kept = 0, n = desk.keys.size(), left, i
    cdef uint32_t slot
    cdef float distance, apart
    cdef bint shadowed
    if n <= degree:
        for i in range(n):
            places[i] = slot_of(desk.keys[i])
        kept = n
        n = 0
    desk.slots.resize(n)
    desk.distances.resize(n)
    desk.apart.resize(n)
    desk.skipped.clear()
    for i in range(n):
        desk.slots[i] = slot_of(desk.keys[i])
        desk.distances[i] = score_of(desk.keys[i]) if job.inner else positive(score_of(desk.keys[i]))
    while n and kept < degree:
        slot, distance = desk.slots[0], desk.distances[0]
        places[kept] = slot
        kept += 1
        (<Scorer>job.pairs).aim(worker, slot)
        (<Scorer>job.pairs).near(worker, &desk.slots[1], n - 1, &desk.apart[0], worker)
        left = 0
        for i in range(1, n):
            apart = desk.apart[i - 1] if job.inner else positive(desk.apart[i - 1])
            if job.inner:
                shadowed = apart < desk.distances[i]
            elif distance > 0:
                shadowed = job.occlusion * apart <= desk.distances[i]
            else:
                shadowed = apart == 0
            if shadowed:
                desk.skipped.push_back(key_of(desk.distances[i], desk.slots[i]))
            else:
                desk.slots[left] = desk.slots[i]
                desk.distances[left] = desk.distances[i]
                left += 1
        n = left
    if kept < degree and desk.skipped.size():
        sort(desk.skipped.begin(), desk.skipped.end())
        for i in range(desk.skipped.size()):
            if kept == degree:
                break
            places[kept] = slot_of(desk.skipped[i])
            kept += 1
    for i in range(kept, degree):
        places[i] = NONE
    return kept


cdef void measure(Job* job, Desk* desk, uint32_t slot, int worker) noexcept nogil:
    cdef size_t n = desk.slots.size(), i
    desk.apart.resize(n)
    (<Scorer>job.pairs).aim(worker, slot)
    (<Scorer>job.pairs).fetch(desk.slots.data(), n)
    (<Scorer>job.pairs).near(worker, desk.slots.data(), n, desk.apart.data(), worker)
    desk.keys.clear()
    for i in range(n):
        if desk.apart[i] == desk.apart[i]:
            desk.keys.push_back(key_of(desk.apart[i], desk.slots[i]))
    sort(desk.keys.begin(), desk.keys.end())


cdef void link_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef Job* job = <Job*>context
    cdef Desk* desk = job.desks + worker
    cdef Walker* walker = job.walkers + worker
    cdef size_t at, i
    cdef uint32_t slot
    for at in range(begin, end):
        slot = job.round[at]
        if job.n_first:
            desk.slots.clear()
            for i in range(job.n_first):
                if i != at:
                    desk.slots.push_back(job.round[i])
            measure(job, desk, slot, worker)
        else:
            (<Scorer>job.pairs).aim(worker, slot)
            walk(&job.links, <Scorer>job.pairs, worker, walker, job.ef, worker)
            desk.keys.clear()
            for i in range(walker.beam.size):
                desk.keys.push_back(walker.beam.keys[i])
            if job.stored != NULL:
                job.same[at] = same_as(job, desk, slot, worker)
                if job.same[at] != NONE:
                    continue
        choose(job, desk, worker, job.places + slot * job.links.degree)


cdef uint32_t same_as(Job* job, Desk* desk, uint32_t slot, int worker) noexcept nogil:
    # A vertex among desk.keys of which the same is stored, so that it is as far away as the vertex itself.
    cdef float own = 0
    cdef size_t i
    (<Scorer>job.pairs).near(worker, &slot, 1, &own, worker)
    for i in range(desk.keys.size()):
        if score_of(desk.keys[i]) == own and (<Stored>job.stored).same(slot, slot_of(desk.keys[i])):
            return slot_of(desk.keys[i])
    return NONE


cdef void offer_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef Job* job = <Job*>context
    cdef Desk* desk = job.desks + worker
    cdef size_t group, i, first, last, has, degree = job.links.degree
    cdef uint32_t slot
    cdef uint32_t* places
    for group in range(begin, end):
        first, last = job.groups[group], job.groups[group + 1]
        slot = <uint32_t>(job.offers[first] >> 32)
        places = job.places + slot * degree
        desk.slots.clear()
        for i in range(degree):
            # A free place, or the link of a damaged file, is no vertex.
            if places[i] < job.links.n:
                desk.slots.push_back(places[i])
        has = desk.slots.size()
        for i in range(first, last):
            # The first ones, compared each with all, may have chosen each other.
            if not holds(desk.slots.data(), has, <uint32_t>job.offers[i]):
                desk.slots.push_back(<uint32_t>job.offers[i])
        if desk.slots.size() <= degree:
            for i in range(degree):
                places[i] = desk.slots[i] if i < desk.slots.size() else NONE
            continue
        measure(job, desk, slot, worker)
        choose(job, desk, worker, places)


cdef int collect_offers(
    Job* job, size_t n_round, vector[uint64_t]* offers, vector[size_t]* groups, Before before
) except -1 nogil:
    # What the vertices of a round offer to those they chose, in order of these.
    cdef size_t at, i, degree = job.links.degree
    cdef uint32_t slot, to
    cdef const uint32_t* places
    offers.clear()
    groups.clear()
    for at in range(n_round):
        slot = job.round[at]
        places = job.places + slot * degree
        for i in range(degree):
            if places[i] == NONE:
                break
            offers.push_back(<uint64_t>places[i] << 32 | slot)
    sort(offers.begin(), offers.end())
    for i in range(offers.size()):
        to = <uint32_t>(offers[0][i] >> 32)
        if i == 0 or to != <uint32_t>(offers[0][i - 1] >> 32):
            groups.push_back(i)
            before.remember(job.places, to, degree)
    groups.push_back(offers.size())
    return 0


def link(
    Graph graph not None, Scorer pairs not None, Py_ssize_t first, Py_ssize_t ef, float occlusion, seed,
    int threads, step, Stored stored=None,
):
    """Link the vertices from `first` on, of which there are codes, into the graph.

    Parameters
    ----------
    graph : Graph
        After `begin`; the vertices have places, the first ones links.
    pairs : Scorer
        Of rows against each other.
    first : int
    ef : int
        Beam of the walks that find candidates.
    occlusion : float, >= 1
        Of the diversity rule, for squared distances: larger ones keep more that lie close to each other.
        Inner products know none.
    seed : int
    threads : int
        As many as `pairs` was made for.
    step : callable
        Told how many rows were linked.
    stored : Stored or None
        Of all rows, of which those that are the same become copies of one vertex. None: all become vertices.
    """
    cdef Job job
    cdef Py_ssize_t n = len(graph), done, total, size, i
    cdef Walkers walkers
    cdef vector[Desk] desks
    cdef vector[uint64_t] offers
    cdef vector[size_t] groups
    cdef uint32_t[:, ::1] places = graph.table.rows
    cdef const uint32_t[::1] order
    cdef uint32_t[::1] same
    cdef Before before = graph.before
    if first == n:
        return
    done = first - np.count_nonzero(graph.copies.rows[:first] != NONE)
    new = np.arange(first, n, dtype=np.uint32)
    if stored is not None:
        new = with_copies(graph, stored, first, step)
    total = done + len(new)
    chance = np.random.Generator(np.random.PCG64([seed, first]))
    shuffled = new[chance.permutation(len(new))]
    order = shuffled
    found = np.empty(len(new), np.uint32)
    same = found
    desks.resize(threads)
    job.places, job.pairs, job.desks = &places[0, 0], <void*>pairs, desks.data()
    # There is nothing yet that the first could be copies of.
    job.stored = <void*>stored if stored is not None and first else NULL
    ef = min(ef, n)
    job.ef, job.occlusion, job.inner = ef, occlusion, isinstance(pairs, InnerPairs)
    if first == 0:
        graph.entries = shuffled[: entries_of(total)].copy()
    walkers = graph.walkers(threads, ef)
    job.walkers, job.links = walkers.each, graph.links()
    try:
        i = 0
        while i < len(new):
            if first == 0 and i == 0:
                size = min(total, max(FIRST, len(graph.entries)))
            else:
                size = min(len(new) - i, max(1, min(done // GROWTH, total // ROUNDS)))
            job.round, job.same = &order[i], &same[i]
            job.n_first = size if first == 0 and i == 0 else 0
            found[i : i + size] = NONE
            with nogil:
                split(size, 1 + size // 1024, threads, link_piece, &job)
                collect_offers(&job, size, &offers, &groups, before)
                job.offers, job.groups = offers.data(), groups.data()
                split(groups.size() - 1, 1 + groups.size() // 1024, threads, offer_piece, &job)
            at = np.flatnonzero(found[i : i + size] != NONE)
            graph.chain(shuffled[i : i + size][at], found[i : i + size][at])
            i += size
            done += size - len(at)
            step(size)
    finally:
        graph.put_back(walkers, 0)
    graph.unmended += n - first
    if entries_of(done) >= 2 * len(graph.entries):
        # What can be reached from the new first one is to be seen.
        graph.unmended = n
        graph.entries = sampled_entries(graph.vertices(), seed)


def with_copies(Graph graph, Stored stored, first, step):
    """Chain the rows from `first` on that are the same; return those that become vertices, uint32 (m,)."""
    n = len(graph)
    vertices, chain = chained(stored, first, n)
    if len(vertices) < n - first:
        graph.have_chains()
        graph.copies.rows[first:] = chain
        step(n - first - len(vertices))
    return vertices
