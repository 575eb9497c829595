"""Inverted lists: which rows belong to which centre, and where they lie so that a list is read in one stream.

A row has a *slot*, its number in the order of arrival, of which ids and filters speak, and a *place*, where
its codes lie. A list owns *pages* of consecutive places, all of them full but its last:

    places   0 .. page - 1 | page .. | 2 page .. | 3 page ..
    owner    list 0        | list 2  | list 0    | none        an emptied page is used again before new ones
    slot     of each place; NONE where there is no row

Rows added together lie list after list, so a list is a few runs of places, and mostly one. A removed row
leaves a hole, into which the last row of its list moves. Nothing here knows of codes: what changes its place
is returned as (sources, targets, emptied), and the tables that lie by place follow.

8 bytes a row, and in each list half a page of places, on average, that hold nothing.
"""

import numpy as np

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libcpp.algorithm cimport sort
from libcpp.vector cimport vector

from ..tables import Table

# NONE as arrays hold it: Cython takes an enum's values for ints.
NO_ROW = np.uint32(0xFFFFFFFF)


cdef class Lists:
    """Rows in lists.

    Parameters
    ----------
    n_lists : int, >= 1
    page : int, >= 1
        Places a page: whole blocks of every layout that lies by place.
    """

    def __init__(self, Py_ssize_t n_lists, Py_ssize_t page):
        if n_lists < 1 or page < 1:
            raise ValueError(f"n_lists and page must be 1 or more, not {n_lists} and {page}")
        self.n_lists, self.page = n_lists, page
        self.slots, self.places = Table(np.uint32), Table(np.uint32)
        self.sizes.resize(n_lists)
        self.pages.resize(n_lists)
        self.look()

    def __len__(self):
        """How many slots there are."""
        return len(self.places)

    @property
    def n_places(self):
        """How many places there are, those without a row included."""
        return len(self.slots)

    @property
    def counts(self):
        """How many rows each list has, int64 (n_lists,)."""
        return np.array(self.sizes, np.int64)

    @property
    def nbytes(self):
        """Bytes of all this."""
        cdef size_t which, pages = self.owners.capacity() + self.ranks.capacity() + self.free.capacity()
        for which in range(self.pages.size()):
            pages += self.pages[which].capacity()
        own = <size_t>self.n_lists * (sizeof(uint32_t) + sizeof(vector[uint32_t]))
        return self.slots.nbytes + self.places.nbytes + sizeof(uint32_t) * pages + own

    # Where rows are

    def places_of(self, slots):
        """Return the places of slots, int64 (n,)."""
        return self.places.rows[slots].astype(np.int64)

    def lists_of(self, slots):
        """Return the lists that slots are in, int64 (n,)."""
        return np.array(self.owners, np.int64)[self.places_of(slots) // self.page]

    def slots_in(self, size_t which):
        """Return the slots of the rows of a list, in their order there, uint32 (n,)."""
        cdef size_t row
        if which >= self.sizes.size():
            raise IndexError(f"there are {self.n_lists} lists, and no list {which}")
        places = [self.place_in(which, row) for row in range(self.sizes[which])]
        return self.slots.rows[np.array(places, np.int64)]

    cdef size_t run(self, size_t which, size_t row, size_t* first) noexcept nogil:
        cdef const uint32_t* pages = self.pages[which].data()
        cdef size_t size = self.sizes[which], number = row // self.page
        first[0] = self.place_in(which, row)
        while (number + 1) * self.page < size and pages[number + 1] == pages[number] + 1:
            number += 1
        return min((number + 1) * self.page, size) - row

    cdef uint32_t list_of(self, size_t place) noexcept nogil:
        return self.owners[place // self.page]

    cdef size_t place_in(self, size_t which, size_t row) noexcept nogil:
        return <size_t>self.pages[which][row // self.page] * self.page + row % self.page

    # Changing that

    def plan(self, labels):
        """Say where rows would lie if they were appended.

        Parameters
        ----------
        labels : uint32 (n,)
            The list of each row.

        Returns
        -------
        places : int64 (n,)
        n_places : int
            How many there would be.
        """
        places, pages, _ = self.laid_out(labels)
        return places, max(self.n_places, self.page * (1 + int(pages.max(initial=-1))))

    def append(self, labels):
        """Append slots, whose rows lie where `plan` says; return their places, int64 (n,)."""
        cdef Py_ssize_t i, first = len(self), had = self.n_places
        cdef const uint32_t[::1] lists = labels
        cdef const int64_t[::1] pages, owners
        places, new_pages, new_owners = self.laid_out(labels)
        pages, owners = new_pages, new_owners
        # What may fail comes before all that must not fail half-way.
        self.places.resize(first + len(labels))
        self.slots.resize(max(had, self.page * (1 + int(new_pages.max(initial=-1)))))
        self.slots.own()
        for i in range(pages.shape[0]):
            self.give(owners[i], pages[i])
        for i in range(lists.shape[0]):
            self.sizes[lists[i]] += 1
        self.free = self.unowned()
        self.slots.rows[had:] = NO_ROW
        self.slots.rows[places] = np.arange(first, len(self), dtype=np.uint32)
        self.places.rows[first:] = places
        self.look()
        return places

    cdef tuple laid_out(self, const uint32_t[::1] labels):
        # (places, pages to be given, the lists to be given them): the free pages first, list after list.
        cdef Py_ssize_t i, n = labels.shape[0]
        cdef size_t page = self.page, which, number, had, taken = 0, next = self.owners.size()
        cdef vector[uint32_t] filled = self.sizes
        cdef vector[size_t] begin
        cdef vector[int64_t] pages, owners
        cdef int64_t[::1] place
        places = np.empty(n, np.int64)
        place = places
        begin.resize(self.n_lists)
        for i in range(n):
            filled[labels[i]] += 1
        for which in range(filled.size()):
            begin[which] = pages.size()
            for _ in range(self.pages[which].size(), (filled[which] + page - 1) // page):
                if taken < self.free.size():
                    pages.push_back(self.free[taken])
                    taken += 1
                else:
                    pages.push_back(next)
                    next += 1
                owners.push_back(which)
        filled = self.sizes
        for i in range(n):
            which = labels[i]
            number, had = filled[which] // page, self.pages[which].size()
            number = self.pages[which][number] if number < had else pages[begin[which] + number - had]
            place[i] = number * page + filled[which] % page
            filled[which] += 1
        return places, np.array(pages, np.int64), np.array(owners, np.int64)

    cdef vector[uint32_t] unowned(self):
        # The pages without a list, ascending.
        cdef vector[uint32_t] pages
        cdef uint32_t page
        for page in range(self.owners.size()):
            if self.owners[page] == NONE:
                pages.push_back(page)
        return pages

    cdef int give(self, size_t which, uint32_t page) except -1:
        if page >= self.owners.size():
            self.owners.resize(page + 1, NONE)
            self.ranks.resize(page + 1)
        self.owners[page], self.ranks[page] = which, self.pages[which].size()
        self.pages[which].push_back(page)
        return 0

    def remove(self, slots):
        """Take the rows of slots out of their lists.

        Parameters
        ----------
        slots : int64 (n,)
            Each with a row, none twice. They stay, without rows, until `rename` or `truncate`.

        Returns
        -------
        sources, targets, emptied : int64
            Places: what moves where, all at once, no source being a target; and which have no row now.
        """
        self.slots.own()
        holes = self.places.rows[slots]
        self.places.rows[slots] = NO_ROW
        self.slots.rows[holes] = NO_ROW
        self.look()
        sources, targets = self.closed(holes)
        moved = self.slots.rows[sources]
        self.slots.rows[targets] = moved
        self.slots.rows[sources] = NO_ROW
        self.places.rows[moved] = targets
        # Free pages at the end are no pages any more.
        while self.free.size() and self.free.back() == self.owners.size() - 1:
            self.free.pop_back()
            self.owners.pop_back()
            self.ranks.pop_back()
        self.slots.resize(self.owners.size() * self.page)
        self.look()
        emptied = np.concatenate([holes, sources])
        emptied = emptied[emptied < self.n_places]
        return sources, targets, emptied[self.slots.rows[emptied] == NO_ROW]

    cdef tuple closed(self, const uint32_t[::1] holes):
        # Shrink the lists that have holes: the rows behind the new end of each go to the holes before it, of
        # which there are as many.
        cdef size_t page = self.page, n = holes.shape[0], i, hole = 0, end, which, left, row
        cdef vector[uint64_t] order
        cdef vector[int64_t] sources, targets
        for i in range(n):
            row = self.ranks[holes[i] // page] * page + holes[i] % page
            order.push_back(<uint64_t>self.list_of(holes[i]) << 32 | row)
        sort(order.begin(), order.end())
        while hole < n:
            which, end = order[hole] >> 32, hole
            while end < n and order[end] >> 32 == which:
                end += 1
            left = self.sizes[which] - (end - hole)
            for row in range(left, self.sizes[which]):
                if self.slot_of[self.place_in(which, row)] != NONE:
                    sources.push_back(self.place_in(which, row))
                    targets.push_back(self.place_in(which, <uint32_t>order[hole]))
                    hole += 1
            hole = end
            self.sizes[which] = left
            while self.pages[which].size() > (left + page - 1) // page:
                self.owners[self.pages[which].back()] = NONE
                self.pages[which].pop_back()
        self.free = self.unowned()
        return np.array(sources, np.int64), np.array(targets, np.int64)

    def rename(self, sources, targets):
        """Let the rows of slots `sources` answer to slots `targets`, which have none."""
        self.slots.own()
        places = self.places.rows[sources]
        self.places.rows[sources] = NO_ROW
        self.places.rows[targets] = places
        self.slots.rows[places] = targets
        self.look()

    def truncate(self, Py_ssize_t n):
        """Keep the first n slots; return (sources, targets, emptied) as `remove` does."""
        moved = self.remove(n + np.flatnonzero(self.places.rows[n:] != NO_ROW))
        self.places.resize(n)
        self.look()
        return moved

    def compact(self):
        """Lay all lists out anew, one after the other.

        Returns
        -------
        sources, targets, emptied : int64
            As of `remove`; but here a source may be a target.
        """
        cdef size_t which, number
        cdef uint32_t next = 0
        sources = self._live()
        slots = self.slots.rows[sources]
        for which in range(self.pages.size()):
            for number in range(self.pages[which].size()):
                self.pages[which][number] = next
                self.owners[next], self.ranks[next] = which, number
                next += 1
            self.pages[which].shrink_to_fit()
        self.owners.resize(next)
        self.ranks.resize(next)
        self.free.clear()
        self.owners.shrink_to_fit()
        self.ranks.shrink_to_fit()
        self.free.shrink_to_fit()
        self.slots.own()
        self.slots.resize(next * self.page)
        self.slots.rows[:] = NO_ROW
        targets = self._live()
        self.slots.rows[targets] = slots
        self.places.rows[slots] = targets
        self.slots.compact()
        self.places.compact()
        self.look()
        return sources, targets, np.flatnonzero(self.slots.rows == NO_ROW)

    def _live(self):
        # The places of all rows, list after list, int64.
        cdef size_t which, row
        cdef vector[int64_t] places
        places.reserve(len(self))
        for which in range(self.sizes.size()):
            for row in range(self.sizes[which]):
                places.push_back(self.place_in(which, row))
        return np.array(places, np.int64)

    cdef int look(self) except -1:
        self.slot_of = <const uint32_t*><size_t>self.slots.rows.ctypes.data
        self.place_of = <const uint32_t*><size_t>self.places.rows.ctypes.data
        return 0

    # Files

    def sections(self):
        """Return the arrays that a file holds."""
        cdef size_t which
        pages = [np.array(self.pages[which], np.uint32) for which in range(self.pages.size())]
        return {
            "lists.sizes": np.array(self.sizes, np.uint32),
            "lists.pages": np.concatenate(pages),
            "lists.slots": self.slots.rows,
        }

    def restore(self, sections, Py_ssize_t n):
        """Take what `sections` gave of n slots with a row each, once it is right; O(n)."""
        sizes = sections.take("lists.sizes", np.uint32, (self.n_lists,)).astype(np.int64)
        slots = sections.take("lists.slots", np.uint32, (None,))
        if sizes.sum() != n:
            raise sections.fault("lists.sizes", f"speaks of {sizes.sum()} rows, the header of {n}")
        if len(slots) % self.page:
            raise sections.fault("lists.slots", f"holds {len(slots)} places, which are no pages")
        n_pages = -(-sizes // self.page)
        pages = sections.take("lists.pages", np.uint32, (int(n_pages.sum()),))
        if pages.max(initial=0) >= max(len(slots) // self.page, 1) or len(np.unique(pages)) != len(pages):
            raise sections.fault("lists.pages", "names a page that there is not, or one twice")
        self._restored(sizes, n_pages, pages, len(slots) // self.page)
        self.slots = Table.over(slots)
        live = self._live()
        known = slots[live]
        n_named = np.count_nonzero(slots != NO_ROW)
        if known.max(initial=0) >= max(n, 1) or len(np.unique(known)) != n or n_named != n:
            raise sections.fault("lists.slots", f"does not name each of {n} slots once")
        self.places.resize(n)
        self.places.rows[known] = live
        self.look()

    def _restored(self, const int64_t[::1] sizes, const int64_t[::1] n_pages, const uint32_t[::1] pages, n):
        cdef size_t which, next = 0
        self.owners.assign(n, NONE)
        self.ranks.assign(n, 0)
        for which in range(self.pages.size()):
            self.sizes[which] = sizes[which]
            for _ in range(n_pages[which]):
                self.give(which, pages[next])
                next += 1
        self.free = self.unowned()
