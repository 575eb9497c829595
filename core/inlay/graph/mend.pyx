"""What keeps a graph whole: ways to vertices that lost theirs, and links around vertices that are to go.

`mend` spreads a tree from the first entry along the links. A vertex that it does not meet gets a link from
the nearest one that it did, in place of one that is not in the tree if there is no free place; so nothing is
lost by it, and one pass is enough.

`heal` takes links to dead vertices out: a vertex that has some chooses anew, among its other links and those
of the dead (the second hop stands in for the first). Source: Singh et al., FreshDiskANN, 2021, algorithm 4.
"""

import numpy as np

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t
from libcpp.vector cimport vector

from ..scorer cimport Scorer
from ..ids cimport Bits
from ..parallel.crew cimport split
from .build cimport Desk, Job, choose, measure
from .graph cimport Graph
from .inner cimport InnerPairs
from .walk cimport NONE, Links, Walker, Walkers, slot_of, walk

from .graph import sampled_entries

# Beam of the walk to a vertex's nearest that can be reached.
cdef enum:
    NEARBY = 64
# Mended when so large a part of the vertices was linked since: O(n degree) work for n / 16 adds.
MEND_AFTER = 16


cdef class Tree:
    # Which vertex led to each; NONE for those not met yet.
    cdef uint32_t[::1] parent
    cdef vector[uint32_t] members  # in the order in which they were met
    cdef size_t spread_to, full    # so many of them had their links followed; have no room, and never will
    cdef uint32_t* places
    cdef size_t n, degree

    cdef int spread(self, uint32_t start) except -1 nogil:
        cdef uint32_t slot, to
        cdef size_t i
        self.members.push_back(start)
        while self.spread_to < self.members.size():
            slot = self.members[self.spread_to]
            self.spread_to += 1
            for i in range(self.degree):
                to = self.places[slot * self.degree + i]
                if to < self.n and self.parent[to] == NONE:
                    self.parent[to] = slot
                    self.members.push_back(to)
        return 0

    cdef uint32_t* room(self, uint32_t slot, uint32_t root) noexcept nogil:
        # A place of a vertex that is free, or whose link the tree can do without; NULL if there is none,
        # which only the links of a damaged file can bring about for all vertices.
        cdef uint32_t* places = self.places + slot * self.degree
        cdef size_t i
        cdef uint32_t* spare = NULL
        for i in range(self.degree):
            if places[i] >= self.n:
                return places + i
            if places[i] != root and self.parent[places[i]] != slot:
                spare = places + i
        return spare


def is_due(Graph graph not None):
    """Return whether so much was linked since the last time that the graph should be mended."""
    return graph.unmended * MEND_AFTER >= len(graph)


def mend(Graph graph not None, Scorer pairs not None, Bits alive):
    """Let every vertex be reached from the first entry, and linked to by another.

    Parameters
    ----------
    graph : Graph
    pairs : Scorer
        Of rows against each other.
    alive : Bits or None
        The vertices that matter; nothing links to others. None: all.
    """
    cdef Py_ssize_t n = len(graph)
    cdef Tree tree = Tree()
    cdef Walkers walkers
    cdef Links links
    cdef uint32_t[:, ::1] places
    cdef uint32_t root, slot
    cdef bint linked = False
    cdef size_t i
    if n == 0 or len(graph.entries) == 0:
        return
    graph.table.own()
    places = graph.table.rows
    links = graph.links()
    parents = np.full(n, NONE, np.uint32)
    tree.parent, tree.places, tree.n, tree.degree = parents, &places[0, 0], n, graph.degree
    root = links.entries[0]
    tree.parent[root] = root
    walkers = graph.walkers(1, NEARBY)
    try:
        with nogil:
            tree.spread(root)
            for slot in range(<uint32_t>n):
                if tree.parent[slot] == NONE and (alive is None or is_in(alive, slot)):
                    if not adopt(tree, graph, &links, pairs, walkers.each, slot, root):
                        break
                    tree.spread(slot)
            for i in range(n * tree.degree):
                if tree.places[i] == root and tree.parent[i // tree.degree] != NONE:
                    linked = True
                    break
            if not linked:
                adopt(tree, graph, &links, pairs, walkers.each, root, root)
                tree.parent[root] = root
    finally:
        graph.put_back(walkers, 0)
    graph.unmended = 0


cdef inline bint is_in(Bits bits, uint32_t slot) noexcept nogil:
    return (bits.words[slot // 64] >> (slot % 64)) & 1


cdef bint adopt(
    Tree tree, Graph graph, const Links* links, Scorer pairs, Walker* walker, uint32_t slot, uint32_t root
) except -1 nogil:
    # Link to a vertex from the nearest in the tree that has room for it, or from any; whether one had.
    cdef size_t i
    cdef uint32_t other
    pairs.aim(0, slot)
    walk(links, pairs, 0, walker, NEARBY, 0)
    for i in range(walker.beam.size):
        other = slot_of(walker.beam.keys[i])
        if link_from(tree, graph, other, slot, root):
            return True
    while tree.full < tree.members.size():
        if link_from(tree, graph, tree.members[tree.full], slot, root):
            return True
        tree.full += 1
    return False


cdef bint link_from(Tree tree, Graph graph, uint32_t other, uint32_t slot, uint32_t root) except -1 nogil:
    cdef uint32_t* place
    if other == slot or tree.parent[other] == NONE:
        return False
    place = tree.room(other, root)
    if place == NULL:
        return False
    if graph.before is not None:
        graph.before.remember(tree.places, other, tree.degree)
    place[0] = slot
    tree.parent[slot] = other
    return True


cdef struct HealJob:
    Job base
    const uint64_t* alive
    uint32_t* healed


cdef inline bint lives(const uint64_t* words, uint32_t slot) noexcept nogil:
    return (words[slot // 64] >> (slot % 64)) & 1


cdef void heal_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef HealJob* job = <HealJob*>context
    cdef Desk* desk = job.base.desks + worker
    cdef Walker* walker = job.base.walkers + worker
    cdef size_t degree = job.base.links.degree, i, j, n
    cdef uint32_t slot, to
    cdef const uint32_t* places
    cdef bint whole
    for slot in range(<uint32_t>begin, <uint32_t>end):
        if not lives(job.alive, slot):
            continue
        places = job.base.places + slot * degree
        whole = True
        for i in range(degree):
            if places[i] < job.base.links.n and not lives(job.alive, places[i]):
                whole = False
        if whole:
            continue
        # Each candidate once: the walker's marks tell.
        walker.marks.start()
        walker.marks.take(&slot, 1, walker.fresh)
        desk.slots.clear()
        for i in range(degree):
            to = places[i]
            if to >= job.base.links.n:
                continue
            if lives(job.alive, to):
                n = walker.marks.take(&to, 1, walker.fresh)
            else:
                n = walker.marks.take(job.base.places + to * degree, degree, walker.fresh)
            for j in range(n):
                if lives(job.alive, walker.fresh[j]):
                    desk.slots.push_back(walker.fresh[j])
        measure(&job.base, desk, slot, worker)
        choose(&job.base, desk, worker, job.healed + slot * degree)


def heal(
    Graph graph not None, Scorer pairs not None, Bits alive not None, float occlusion, seed, int threads
):
    """Return a graph in which no live vertex links to a dead one; `graph` stays as it was.

    Parameters
    ----------
    graph : Graph
    pairs : Scorer
        Of rows against each other.
    alive : Bits
        The vertices that stay.
    occlusion, seed, threads
        As for `build.link`.
    """
    cdef HealJob job
    cdef Py_ssize_t n = len(graph)
    cdef Graph healed = Graph(graph.degree)
    cdef Walkers walkers
    cdef vector[Desk] desks
    cdef uint32_t[:, ::1] places
    if n == 0 or alive.count == 0:
        return healed
    healed.table.resize(n)
    healed.table.rows[:] = graph.table.rows
    places = healed.table.rows
    desks.resize(threads)
    walkers = graph.walkers(threads, 1)
    job.base.links, job.base.pairs, job.base.occlusion = graph.links(), <void*>pairs, occlusion
    job.base.inner = isinstance(pairs, InnerPairs)
    job.base.places = <uint32_t*>job.base.links.places
    job.base.desks, job.base.walkers = desks.data(), walkers.each
    job.alive, job.healed = &alive.words[0], &places[0, 0]
    try:
        with nogil:
            split(n, 64, threads, heal_piece, &job)
    finally:
        graph.put_back(walkers, 0)
    living = np.flatnonzero(np.unpackbits(alive.array.view(np.uint8), count=n, bitorder="little"))
    healed.entries = sampled_entries(living.astype(np.uint32), seed)
    mend(healed, pairs, alive)
    healed.expanded, healed.evaluated, healed.walks = graph.expanded, graph.evaluated, graph.walks
    return healed
