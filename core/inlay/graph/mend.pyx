"""What keeps a graph whole: ways to vertices that lost theirs, and links around vertices that are to go.

`mend` spreads a tree from the first entry along the links. A vertex that it does not meet gets a link from
the nearest one that it did, in place of one that is not in the tree if there is no free place; so nothing is
lost by it, and one pass is enough.

`reconnect` looks only at what linking a few vertices has changed. Where a link was given up and one or two
others lead the same way, nothing is lost. Other vertices that lost a link, and new ones that none of those
they chose links back to, are walked to from the first entry; one that the walk does not come across gets a
link from the nearest it found, in place of one that two others make up for. So what could be reached still
can be, whatever became of the rest.

`heal` takes links to dead vertices out: a vertex that has some chooses anew, among its other links and those
of the dead (the second hop stands in for the first). Of a dead vertex with live copies one takes the place
before. Source: Singh et al., FreshDiskANN, 2021, algorithm 4.
"""

import numpy as np

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp.algorithm cimport sort, unique
from libcpp.vector cimport vector

from ..scorer cimport Scorer
from ..ids cimport Bits, is_in
from ..parallel.crew cimport interrupted, split
from .build cimport Desk, Job, choose, holds, measure
from .graph cimport Before, Graph
from .inner cimport InnerPairs
from .walk cimport NONE, Links, Walker, Walkers, slot_of, walk

from .copies import are_copies, living
from .graph import renamed, sampled_entries
from ..tables import Table

# Beam of the walk to a vertex's nearest that can be reached.
cdef enum:
    NEARBY = 64
# Ctrl-C is looked for after so many vertices whose links were followed or compared, or that were walked to:
# some 50 ms each.
cdef enum:
    FOLLOWED = 1 << 18
    COMPARED = 1 << 15
    WALKED_TO = 1 << 9
# Mended when so large a part of the vertices was linked since: to look at all costs less then.
MEND_AFTER = 512


cdef int look_for_signals() except -1 nogil:
    return -1 if interrupted() else 0


cdef class Tree:
    # Which vertex led to each; NONE for those not met yet.
    cdef uint32_t[::1] parent
    cdef vector[uint32_t] members  # in the order in which they were met
    cdef size_t spread_to, full    # so many of them had their links followed; have no room, and never will
    cdef uint32_t* places
    cdef size_t n, degree, walked_to

    cdef int spread(self, uint32_t start) except -1 nogil:
        cdef uint32_t slot, to
        cdef size_t i
        self.members.push_back(start)
        while self.spread_to < self.members.size():
            slot = self.members[self.spread_to]
            self.spread_to += 1
            if self.spread_to % FOLLOWED == 0:
                look_for_signals()
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
    cdef const uint8_t[::1] copy
    cdef bint linked = False, copies = len(graph.copies) > 0
    cdef size_t i
    if n == 0 or len(graph.entries) == 0:
        return
    copy = are_copies(graph.copies.rows)
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
                if copies and copy[slot]:
                    continue
                if tree.parent[slot] == NONE and (alive is None or is_in(&alive.words[0], slot)):
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


cdef bint adopt(
    Tree tree, Graph graph, const Links* links, Scorer pairs, Walker* walker, uint32_t slot, uint32_t root
) except -1 nogil:
    # Link to a vertex from the nearest in the tree that has room for it, or from any; whether one had.
    cdef size_t i
    cdef uint32_t other
    tree.walked_to += 1
    if tree.walked_to % WALKED_TO == 0:
        look_for_signals()
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


def reconnect(Graph graph not None, Scorer pairs not None):
    """Let the vertices linked since `Graph.begin` be reached from the first entry, and all that were before.

    Parameters
    ----------
    graph : Graph
        Whole before that.
    pairs : Scorer
        Of rows against each other.
    """
    cdef Py_ssize_t n = len(graph)
    cdef Walkers walkers
    cdef Links links = graph.links()
    cdef Before before = graph.before
    cdef uint32_t[:, ::1] places = graph.table.rows
    cdef vector[uint32_t] lost
    cdef size_t i
    cdef bint whole = True
    # The walks that tell what can be reached are from the first alone.
    links.n_entries = 1
    walkers = graph.walkers(1, NEARBY)
    try:
        with nogil:
            collect_lost(&links, before, &lost)
            for i in range(lost.size()):
                if (i + 1) % WALKED_TO == 0:
                    look_for_signals()
                if not lead_to(graph, &links, &places[0, 0], pairs, walkers.each, lost[i]):
                    whole = False
                    break
    finally:
        graph.put_back(walkers, 0)
    if whole:
        graph.unmended -= n - before.n
    else:
        mend(graph, pairs, None)


cdef int collect_lost(const Links* links, Before before, vector[uint32_t]* lost) except -1 nogil:
    # The vertices that linking may have cut off, in order. A copy has no links and lost none.
    cdef size_t compared = 0, i
    cdef uint32_t slot, to
    cdef bint is_copy
    for entry in before.at:
        compared += 1
        if compared % COMPARED == 0:
            look_for_signals()
        for i in range(links.degree):
            to = before.links[entry.second + i]
            if to < links.n and not leads(links, entry.first, to, links.degree):
                lost.push_back(to)
    for slot in range(<uint32_t>before.n, <uint32_t>links.n):
        is_copy = links.copies != NULL and links.places[slot * links.degree] == NONE
        if not is_copy and not is_linked_back(links, slot):
            lost.push_back(slot)
    sort(lost.begin(), lost.end())
    lost.erase(unique(lost.begin(), lost.end()), lost.end())
    return 0


cdef bint leads(const Links* links, uint32_t start, uint32_t goal, size_t but) noexcept nogil:
    # Whether one or two links lead from a vertex to another, the one in place `but` not counted.
    cdef const uint32_t* places = links.places + start * links.degree
    cdef size_t i
    for i in range(links.degree):
        if i != but and places[i] == goal:
            return True
    for i in range(links.degree):
        if places[i] < links.n and places[i] != goal and links_to(links, places[i], goal):
            return True
    return False


cdef inline bint links_to(const Links* links, uint32_t slot, uint32_t to) noexcept nogil:
    return holds(links.places + slot * links.degree, links.degree, to)


cdef bint is_linked_back(const Links* links, uint32_t slot) noexcept nogil:
    # By one that came before it: which leads back to vertices that were there already.
    cdef const uint32_t* places = links.places + slot * links.degree
    cdef size_t i
    for i in range(links.degree):
        if places[i] < slot and links_to(links, places[i], slot):
            return True
    return False


cdef bint lead_to(
    Graph graph, const Links* links, uint32_t* places, Scorer pairs, Walker* walker, uint32_t slot
) except -1 nogil:
    # Whether the vertex can be reached now; the first entry, whether a link leads back to it.
    cdef size_t i, place
    cdef uint32_t other
    pairs.aim(0, slot)
    walk(links, pairs, 0, walker, NEARBY, 0)
    if slot != links.entries[0] and walker.marks.stamps[slot] == walker.marks.now:
        return True
    for i in range(walker.beam.size):
        other = slot_of(walker.beam.keys[i])
        if other == slot:
            continue
        if links_to(links, other, slot):
            return True
        place = room(links, other)
        if place < links.degree:
            graph.before.remember(places, other, links.degree)
            places[other * links.degree + place] = slot
            return True
    return False


cdef size_t room(const Links* links, uint32_t slot) noexcept nogil:
    # A place that is free, or whose link others make up for; the last, as the first hold the nearest. The
    # degree if there is none.
    cdef const uint32_t* places = links.places + slot * links.degree
    cdef size_t i
    for i in range(links.degree):
        if places[i] >= links.n:
            return i
    for i in range(links.degree, 0, -1):
        if leads(links, slot, places[i - 1], i - 1):
            return i - 1
    return links.degree


cdef struct HealJob:
    Job base
    const uint64_t* alive
    uint32_t* healed


cdef void heal_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef HealJob* job = <HealJob*>context
    cdef Desk* desk = job.base.desks + worker
    cdef Walker* walker = job.base.walkers + worker
    cdef size_t degree = job.base.links.degree, i, j, n
    cdef uint32_t slot, to
    cdef const uint32_t* places
    cdef bint whole
    for slot in range(<uint32_t>begin, <uint32_t>end):
        if not is_in(job.alive, slot):
            continue
        places = job.base.places + slot * degree
        whole = True
        for i in range(degree):
            if places[i] < job.base.links.n and not is_in(job.alive, places[i]):
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
            if is_in(job.alive, to):
                n = walker.marks.take(&to, 1, walker.fresh)
            else:
                n = walker.marks.take(job.base.places + to * degree, degree, walker.fresh)
            for j in range(n):
                if is_in(job.alive, walker.fresh[j]):
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
    cdef const uint32_t[:, ::1] before
    cdef uint32_t[:, ::1] places
    if n == 0 or alive.count == 0:
        return healed
    linked = graph.table.rows
    if len(graph.copies):
        chain, names = living(graph.copies.rows, alive.array)
        if (chain != NONE).any():
            healed.copies = Table.over(chain)
        dead = np.flatnonzero(names != np.arange(n))
        linked = linked.copy()
        linked[names[dead]], linked[dead] = linked[dead], NONE
        renamed(linked, names)
    healed.table.resize(n)
    healed.table.rows[:] = linked
    before, places = linked, healed.table.rows
    desks.resize(threads)
    walkers = graph.walkers(threads, 1)
    job.base.links, job.base.pairs, job.base.occlusion = graph.links(), <void*>pairs, occlusion
    job.base.links.places = &before[0, 0]
    job.base.inner = isinstance(pairs, InnerPairs)
    job.base.places = <uint32_t*>job.base.links.places
    job.base.desks, job.base.walkers = desks.data(), walkers.each
    job.alive, job.healed = &alive.words[0], &places[0, 0]
    try:
        with nogil:
            split(n, 64, threads, heal_piece, &job)
    finally:
        graph.put_back(walkers, 0)
    living_slots = np.flatnonzero(np.unpackbits(alive.array.view(np.uint8), count=n, bitorder="little"))
    vertices = np.intersect1d(living_slots, healed.vertices(), assume_unique=True)
    healed.entries = sampled_entries(vertices.astype(np.uint32), seed)
    mend(healed, pairs, alive)
    healed.expanded, healed.evaluated, healed.walks = graph.expanded, graph.evaluated, graph.walks
    return healed
