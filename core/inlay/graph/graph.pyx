"""The graph: a row of places a vertex, of which the first hold the slots of its neighbours in any order.

A vertex is a row, numbered by its slot, and stands for its copies (copies.pyx). Walks begin at the
*entries*, a sample of the vertices scored one after the other; every vertex can be reached from the first of
them, which `check` verifies and `mend` restores.
"""

import numpy as np

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t

from .walk cimport MOST_LINKS, NONE, Links, Walkers

from ..contents import field
from ..tables import Table
from .copies import are_copies, are_whole, shortened

__all__ = ["Graph"]

# Scratch kept for the next calls: as many as threads of a program that usually search at the same time.
IDLE = 16
# Entries: the square root of n of them, scored before each walk, and at most so many: more cost more than the
# steps they save (100k text embeddings: 1,429 evaluations for a recall of 0.982 with 64, 1,436 with 16, 1,585
# with 256; 60k images 765, 787 and 903).
MOST_ENTRIES = 64


def entries_of(n):
    """Return how many of n vertices are entries."""
    return min(max(1, int(n**0.5)), MOST_ENTRIES)


def sampled_entries(slots, seed):
    """Return as many of slots as there should be entries, at random."""
    chosen = np.random.Generator(np.random.PCG64([seed, len(slots)])).permutation(len(slots))
    return slots[chosen[: entries_of(len(slots))]]


cdef class Graph:
    """Links between n vertices, at most `degree` from each.

    Parameters
    ----------
    degree : int, 2 .. 512

    Attributes
    ----------
    table : Table of uint32, (n, degree)
        The links of each vertex; places without one hold NONE.
    copies : Table of uint32, (n,), or (0,) while there are none
        The row that comes next of those that are the same.
    entries : ndarray of uint32
        Where walks begin.
    expanded, evaluated, walks : int
        How many vertices all searches so far have expanded (looked at the links of) and evaluated (scored).
    """

    def __init__(self, Py_ssize_t degree):
        if not 2 <= degree <= MOST_LINKS:
            raise ValueError(f"degree must be between 2 and {MOST_LINKS}, not {degree}")
        self.degree = degree
        self.table = Table(np.uint32, (degree,))
        self.copies = Table(np.uint32)
        self.entries = np.empty(0, np.uint32)
        self.unmended = 0
        self.idle = []
        self.before = None
        self.expanded = self.evaluated = self.walks = 0

    def __len__(self):
        return len(self.table)

    @property
    def nbytes(self):
        """Bytes of links, chains of copies, entries and the scratch kept for the next searches."""
        scratch = sum(idle.nbytes for idle in self.idle)
        return self.table.nbytes + self.copies.nbytes + self.entries.nbytes + scratch

    cdef Links links(self) except *:
        # Views of arrays cost as much as a step of a walk, so they are kept while the arrays are the same.
        cdef Links links
        rows, copies = self.table.rows, self.copies.rows
        if rows is not self.seen_rows:
            self.places_view, self.seen_rows = rows, rows
        if copies is not self.seen_copies:
            self.copies_view, self.seen_copies = copies, copies
        if self.entries is not self.seen_entries:
            self.entry_view, self.seen_entries = self.entries, self.entries
        links.n, links.degree = self.places_view.shape[0], self.degree
        links.n_entries = self.entry_view.shape[0]
        links.places = &self.places_view[0, 0] if links.n else NULL
        links.entries = &self.entry_view[0] if links.n_entries else NULL
        links.copies = &self.copies_view[0] if self.copies_view.shape[0] else NULL
        return links

    cdef Walkers walkers(self, int threads, size_t room):
        # Scratch for so many threads, with beams for so many vertices; to be put back.
        cdef Walkers walkers = None
        try:
            walkers = self.idle.pop()
        except IndexError:
            pass
        cdef Py_ssize_t n = len(self.table.rows)
        if walkers is None or walkers.n < n or walkers.count < threads:
            # Some more, so that rows added one by one do not each ask for new scratch.
            walkers = Walkers(threads, n + n // 8)
        walkers.ready(n, room)
        return walkers

    cdef void put_back(self, Walkers walkers, Py_ssize_t walks):
        # After so many walks of searches; others are not counted.
        cdef int i
        if walks:
            for i in range(walkers.count):
                self.expanded += walkers.each[i].expanded
                self.evaluated += walkers.each[i].evaluated
            self.walks += walks
        if len(self.idle) < IDLE and walkers.n >= len(self.table.rows):
            self.idle.append(walkers)

    def begin(self, Py_ssize_t n):
        """Have n vertices, new ones without links, and remember from now on what `truncate` needs."""
        cdef Py_ssize_t had = len(self.table)
        self.before = Before(had, self.entries, self.unmended, len(self.copies) > 0)
        self.table.own()
        self.table.resize(n)
        self.table.rows[had:] = NONE
        if len(self.copies):
            self.copies.resize(n)
            self.copies.rows[had:] = NONE

    def vertices(self):
        """Return the rows that are no copies, uint32 (m,), ascending."""
        if len(self.copies) == 0:
            return np.arange(len(self.table), dtype=np.uint32)
        return np.flatnonzero(are_copies(self.copies.rows) == 0).astype(np.uint32)

    def have_chains(self):
        """Have a chain for each vertex, of itself alone, if there were no copies so far."""
        if len(self.copies) == 0:
            self.copies.resize(len(self.table))
            self.copies.rows[:] = NONE

    def chain(self, slots, targets):
        """Let slots, vertices without links, and their copies be copies of targets, one after the other."""
        if len(slots) == 0:
            return
        self.have_chains()
        cdef uint32_t[::1] following = self.copies.rows
        cdef uint32_t slot, target, last
        for slot, target in zip(slots, targets, strict=True):
            last = slot
            while following[last] != NONE:
                last = following[last]
            following[last] = following[target]
            following[target] = slot

    def compact(self):
        """Give back memory beyond the vertices there are."""
        self.table.compact()
        self.copies.compact()

    def changed(self):
        """Return the vertices whose links may have changed since `begin`, uint32 (m,)."""
        cdef Before before = self.before
        if before is None:
            return np.empty(0, np.uint32)
        new = np.arange(before.n, len(self.table), dtype=np.uint32)
        return np.concatenate([before.vertices(), new])

    def commit(self):
        """Forget how it was."""
        self.before = None

    def truncate(self, Py_ssize_t n):
        """Keep the first n vertices: as they were at `begin`, unless that has been committed."""
        cdef Before before = self.before
        self.before = None
        if n == len(self.table):
            return
        self.table.own()
        self.table.resize(n)
        if len(self.copies):
            shortened(self.copies.rows, n)
            self.copies.resize(n if before is None or before.had_copies else 0)
        if before is not None and before.n == n:
            before.restore(self.table.rows)
            self.entries, self.unmended = before.entries, before.unmended
        else:
            without(self.table.rows, n)
            self.entries = self.entries[self.entries < n]
            self.unmended = n

    def rename(self, sources, targets):
        """Let the vertices of sources take the places of targets, to which nothing links any more."""
        cdef Py_ssize_t n = len(self.table)
        if len(sources) == 0:
            return
        names = np.arange(n, dtype=np.uint32)
        names[sources] = targets
        self.table.own()
        rows = self.table.rows
        rows[targets] = rows[sources]
        renamed(rows, names)
        if len(self.copies):
            chain = self.copies.rows
            chain[targets] = chain[sources]
            renamed(chain[:, None], names)
        self.entries = names[self.entries]

    def state(self):
        """Return what a file holds of the graph."""
        fields, sections = {"unmended": self.unmended}, {"links": self.table.rows, "entries": self.entries}
        if len(self.copies):
            fields["copies"], sections["copies"] = True, self.copies.rows
        return fields, sections

    def restore(self, header, sections, Py_ssize_t n):
        """Take what `state` gave. Links are not looked at: a walk passes over those that lead nowhere."""
        links = sections.take("links", np.uint32, (n, self.degree))
        entries = sections.take("entries", np.uint32, (None,))
        if (len(entries) == 0) != (n == 0) or (entries >= n).any():
            raise sections.fault("entries", f"does not name some of the {n} rows")
        copies = Table(np.uint32)
        if "copies" in header and field(header, "copies", bool):
            copies = Table.over(np.array(sections.take("copies", np.uint32, (n,))))
            if not are_whole(copies.rows):
                raise sections.fault("copies", f"does not lead through {n} rows")
        self.table, self.copies, self.entries = Table.over(links), copies, np.array(entries)
        self.unmended = field(header, "unmended", int, at_least=0, at_most=n)

    def check(self):
        """Return what is wrong with the graph, an empty list if nothing is.

        O(n * degree): looks for links to no vertex, to oneself, twice to the same, behind a free place; for
        vertices without a way from the first entry, or without a link to them.
        """
        faults = []
        rows = np.asarray(self.table.rows)
        n = len(rows)
        if n == 0:
            return faults
        there = rows != NONE
        out = there & (rows >= n)
        if out.any():
            faults.append(f"vertex {int(out.any(axis=1).argmax())} links beyond the {n} vertices")
            return faults
        if (there[:, 1:] & ~there[:, :-1]).any():
            faults.append("a link stands behind a free place")
        if (rows == np.arange(n, dtype=np.uint32)[:, None]).any():
            faults.append("a vertex links to itself")
        ordered = np.sort(rows, axis=1)
        if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != NONE)).any():
            faults.append("a vertex links twice to the same")
        vertices = self.vertices()
        incoming = np.bincount(rows[there], minlength=n)
        if len(vertices) < n:
            copies = np.ones(n, np.bool_)
            copies[vertices] = False
            if incoming[copies].any() or there[copies].any():
                faults.append("a copy has links, or is linked to")
        if len(vertices) > 1:
            lost = int(np.count_nonzero(incoming[vertices] == 0))
            if lost:
                faults.append(f"{lost} vertices have no link to them")
        if len(self.entries) == 0 or not np.isin(self.entries, vertices).all():
            faults.append("there is no entry, or one that is no vertex")
        else:
            unreached = int(np.count_nonzero(~reached(rows, int(self.entries[0]))[vertices]))
            if unreached:
                faults.append(f"{unreached} vertices cannot be reached from the first entry")
        return faults


cdef class Before:
    """The links that vertices had before a change, of those that it touched."""

    def __init__(self, Py_ssize_t n, entries, Py_ssize_t unmended, bint had_copies):
        self.n, self.entries, self.unmended, self.had_copies = n, entries, unmended, had_copies

    cdef int remember(self, const uint32_t* places, uint32_t slot, size_t degree) except -1 nogil:
        if slot < self.n and self.at.count(slot) == 0:
            # First the links: there may be no memory for one or the other.
            self.links.insert(
                self.links.end(), places + slot * degree, places + slot * degree + degree
            )
            self.at[slot] = self.links.size() - degree
        return 0

    def vertices(self):
        """Return the vertices that were touched, uint32 (m,)."""
        touched = np.empty(self.at.size(), np.uint32)
        cdef uint32_t[::1] view = touched
        cdef Py_ssize_t i = 0
        for entry in self.at:
            view[i] = entry.first
            i += 1
        return touched

    def restore(self, uint32_t[:, ::1] rows):
        """Give the links back."""
        cdef size_t degree = rows.shape[1], i
        for entry in self.at:
            for i in range(degree):
                rows[entry.first, i] = self.links[entry.second + i]


def renamed(uint32_t[:, ::1] rows, const uint32_t[::1] names):
    """Put names[slot] for every slot in rows."""
    cdef Py_ssize_t i, j
    with nogil:
        for i in range(rows.shape[0]):
            for j in range(rows.shape[1]):
                if rows[i, j] < <uint32_t>names.shape[0]:
                    rows[i, j] = names[rows[i, j]]


def without(uint32_t[:, ::1] rows, uint32_t n):
    """Take links to slots from n on out of rows; the free places come last."""
    cdef Py_ssize_t i, j, kept
    with nogil:
        for i in range(rows.shape[0]):
            kept = 0
            for j in range(rows.shape[1]):
                if rows[i, j] < n:
                    rows[i, kept] = rows[i, j]
                    kept += 1
            for j in range(kept, rows.shape[1]):
                rows[i, j] = NONE


def reached(const uint32_t[:, ::1] rows, Py_ssize_t start):
    """Return which vertices a walk along all links from `start` meets, bool (n,)."""
    cdef Py_ssize_t n = rows.shape[0], head = 0, tail = 1, i
    cdef uint32_t slot
    marks, queue = np.zeros(n, np.uint8), np.empty(n, np.uint32)
    cdef unsigned char[::1] seen = marks
    cdef uint32_t[::1] waiting = queue
    seen[start], waiting[0] = 1, start
    with nogil:
        while head < tail:
            for i in range(rows.shape[1]):
                slot = rows[waiting[head], i]
                if slot < n and not seen[slot]:
                    seen[slot] = 1
                    waiting[tail] = slot
                    tail += 1
            head += 1
    return marks.view(np.bool_)
