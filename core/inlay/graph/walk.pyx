"""Beam search: from the entries towards a query, always expanding the best vertex not yet expanded.

    beam = the entries
    while the beam holds a vertex that is not expanded:
        v = the best of them -> send for its links
        links of v not seen before -> send for their codes
        score them in one call -> into the beam

A `Scorer` gives the scores, so one walk serves every kind of code, for searching (queries) and for building
(rows). What is seen is kept as a stamp a slot; what a thread needs is kept between calls.

Sources: Malkov and Yashunin, Efficient and robust approximate nearest neighbor search using hierarchical
navigable small world graphs, 2016, algorithm 2; Jayaram Subramanya et al., DiskANN, NeurIPS 2019, algorithm
1.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc

from ..scorer cimport Scorer
from ..kernels.table cimport known_of, memory_of, prefetch_bytes


cdef class Walkers:
    """What `count` threads need to walk a graph of up to n vertices; n bytes each and the beam."""

    def __cinit__(self, int count, Py_ssize_t n):
        cdef int i
        self.count, self.n = count, n
        self.each = <Walker*>calloc(count, sizeof(Walker))
        if self.each == NULL:
            raise MemoryError
        for i in range(count):
            self.each[i].marks.stamps = <uint8_t*>calloc(n + 1, 1)
            self.each[i].marks.room = n
            self.each[i].fresh = <uint32_t*>malloc(2 * (MOST_LINKS + AT_ONCE) * sizeof(uint32_t))
            self.each[i].scores = <float*>malloc((MOST_LINKS + AT_ONCE) * sizeof(float))
            if self.each[i].marks.stamps == NULL or self.each[i].fresh == NULL or self.each[i].scores == NULL:
                raise MemoryError

    def __dealloc__(self):
        cdef int i
        if self.each == NULL:
            return
        for i in range(self.count):
            free(self.each[i].marks.stamps)
            free(self.each[i].fresh)
            free(self.each[i].scores)
            free(self.each[i].memory)
            free(self.each[i].known)
            free(self.each[i].front)
        free(self.each)

    cdef int ready(self, size_t n, size_t room) except -1:
        # For a graph of n vertices have beams for `room` of them, and begin to count anew.
        cdef int i
        cdef void* memory
        for i in range(self.count):
            self.each[i].expanded = self.each[i].evaluated = 0
            self.each[i].marks.n = n
            if self.each[i].room < room:
                memory = realloc(self.each[i].memory, (room + 1) * sizeof(uint64_t))
                if memory == NULL:
                    raise MemoryError
                self.each[i].memory, self.each[i].room = <uint64_t*>memory, room
        return 0

    cdef int ready_front(self, size_t most) except -1:
        # Be ready for walks by estimates, too, that keep up to `most` vertices in view.
        cdef int i
        cdef void* memory
        for i in range(self.count):
            if self.each[i].in_view < most:
                memory = realloc(self.each[i].known, known_of(most) * sizeof(uint64_t))
                if memory == NULL:
                    raise MemoryError
                self.each[i].known = <uint64_t*>memory
                memory = realloc(self.each[i].front, memory_of(most) * sizeof(uint32_t))
                if memory == NULL:
                    raise MemoryError
                self.each[i].front, self.each[i].in_view = <uint32_t*>memory, most
        return 0

    @property
    def nbytes(self):
        """Bytes of memory."""
        cdef size_t total = 0
        cdef int i
        for i in range(self.count):
            total += self.n + 8 * self.each[i].room + 12 * (MOST_LINKS + AT_ONCE)
            if self.each[i].in_view:
                total += 8 * known_of(self.each[i].in_view) + 4 * memory_of(self.each[i].in_view)
        return total


cdef void enter(const Links* links, Scorer scorer, size_t query, Walker* walker, int worker) noexcept nogil:
    cdef size_t first, n, i
    for first in range(0, links.n_entries, 64):  # AT_ONCE
        n = links.n_entries - first if links.n_entries - first < AT_ONCE else AT_ONCE
        n = walker.marks.take(links.entries + first, n, walker.fresh)
        scorer.fetch(walker.fresh, n)
        scorer.near(query, walker.fresh, n, walker.scores, worker)
        walker.evaluated += n
        for i in range(n):
            walker.beam.push(walker.scores[i], walker.fresh[i])


cdef void walk(
    const Links* links, Scorer scorer, size_t query, Walker* walker, size_t most, int worker
) noexcept nogil:
    cdef size_t n, n_before = 0, i
    cdef uint32_t coming = NONE
    cdef Beam* beam = &walker.beam
    cdef uint32_t* fresh = walker.fresh
    cdef uint32_t* before = walker.fresh + MOST_LINKS + AT_ONCE
    walker.marks.n = links.n
    walker.marks.start()
    beam.start(walker.memory, most)
    if links.n_entries == 0:
        return
    enter(links, scorer, query, walker, worker)
    # Three vertices are under way at any time: one whose links are being sent for, one whose neighbours'
    # codes are, one whose neighbours are scored. A few expansions are others than they would have been (4 %
    # more evaluations), and hardly any waits for memory (36 us a query where two under way take 43: 100k rows
    # of 384 dimensions in two bits, a beam of 64).
    while True:
        n = 0
        if coming != NONE:
            n = walker.marks.take(links.places + coming * links.degree, links.degree, fresh)
            scorer.fetch(fresh, n)
            walker.expanded += 1
            walker.evaluated += n
        coming = NONE
        if beam.pop(&coming):
            prefetch_bytes(<const uint8_t*>(links.places + coming * links.degree), 4 * links.degree)
        elif n == 0 and n_before == 0:
            break
        scorer.near(query, before, n_before, walker.scores, worker)
        for i in range(n_before):
            beam.push(walker.scores[i], before[i])
        before, fresh, n_before = fresh, before, n
