"""Ids: which row of an index answers to which number, and filters over them.

An index numbers its rows 0, 1, 2, ... without gaps: these numbers are *slots*, and they change when rows are
removed (the last row moves into the hole). Rows that cannot be moved so easily are *buried* instead: their
slots stay, dead and with id -1, until all dead ones are dropped together. What a user sees are *ids*, which
never change and are never given twice. While ids run on from a base (id = base + slot), which is what most
indexes have, nothing is stored; otherwise there is an array slot -> id and an open hash table id -> slot, at
most 23 bytes a row together.
"""

import weakref

import numpy as np

from libc.stdint cimport int32_t, int64_t, uint64_t

from .arrays import as_ids
from .tables import Table, allocate

MAX_ROWS = 2**31 - 1  # slots are 32-bit in candidates of a search and in the hash table


cdef inline uint64_t scatter(int64_t key) noexcept nogil:
    # The finaliser of splitmix64: every bit of the id reaches the low bits.
    cdef uint64_t x = <uint64_t>key
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EB
    return x ^ (x >> 31)


cdef class Bits:
    """A set of slots as bits, ready for a search.

    Parameters
    ----------
    mask : ndarray of bool, (n,)
        Which slots are in the set.
    """

    def __init__(self, mask):
        self.n = len(mask)
        packed = np.zeros((self.n + 63) // 64 * 8 + 8, np.uint8)
        packed[: (self.n + 7) // 8] = np.packbits(mask, bitorder="little")
        self.array = packed.view(np.uint64)
        self.words = self.array
        self.count = int(np.count_nonzero(mask))


class IdFilter:
    """A set of ids for `allowed=`, prepared once and used for many searches.

    Parameters
    ----------
    ids : array_like of int, (n,)
        The ids that may be returned; order and repetition do not matter, ids an index does not hold are
        ignored.

    Notes
    -----
    The filter remembers its bits for the index it was last used with, until that index changes.
    """

    __slots__ = ("_last", "ids")

    def __init__(self, ids):
        self.ids = np.unique(as_ids(ids, "allowed ids"))
        self.ids.flags.writeable = False
        self._last = None

    def __len__(self):
        return len(self.ids)

    def __contains__(self, item):
        at = int(np.searchsorted(self.ids, item))
        return at < len(self.ids) and bool(self.ids[at] == item)

    def __repr__(self):
        return f"IdFilter({len(self.ids)} ids)"

    def __reduce__(self):
        return (IdFilter, (np.array(self.ids),))

    def bits(self, id_map):
        """Return the slots of these ids in an index as `Bits`."""
        # One tuple, so that threads which search different indexes never see the parts of two.
        last = self._last
        if last is not None and last[0]() is id_map and last[1] == id_map.version:
            return last[2]
        bits = id_map.bits(self.ids)
        self._last = weakref.ref(id_map), id_map.version, bits
        return bits


class IdMap:
    """The ids of an index's rows.

    Attributes
    ----------
    next_id : int
        The id that the next row without one is given: above every id there ever was.
    version : int
        Changes whenever the relation of ids and slots does.

    Notes
    -----
    Its length is the number of rows; `n_slots` also counts the dead slots of buried ones.
    """

    def __init__(self):
        self._n = 0  # slots
        self._dead = 0
        self._alive = None  # (version, Bits) when last asked for
        self._base = 0
        self._ids = None  # Table of int64 once ids no longer run on from the base
        self._hash = None
        self._loaded = False  # and `next_id` not yet compared with what is there
        self.next_id = 0
        self.version = 0

    def __len__(self):
        return self._n - self._dead

    @property
    def n_slots(self):
        """How many slots there are, dead ones included."""
        return self._n

    @property
    def alive(self):
        """The slots that are not dead, as `Bits`; None while that is all of them."""
        if not self._dead:
            return None
        # One tuple, as for a filter: several searches may ask at once.
        last = self._alive
        if last is None or last[0] != self.version:
            last = self._alive = self.version, Bits(self._ids.rows != -1)
        return last[1]

    @property
    def array(self):
        """The ids of the rows in slot order, int64 (n,), as a read-only array."""
        if self._ids is None:
            ids = np.arange(self._base, self._base + self._n, dtype=np.int64)
        elif self._dead:
            ids = self._ids.rows[self._ids.rows != -1]
        else:
            ids = self._ids.rows.view()
        ids.flags.writeable = False
        return ids

    @property
    def stored(self):
        """The stored ids of all slots, -1 for dead ones, or None while id = base + slot."""
        return None if self._ids is None else self._ids.rows

    @property
    def base(self):
        """The id of slot 0 while ids run on; 0 otherwise."""
        return self._base if self._ids is None else 0

    @property
    def nbytes(self):
        """Bytes of the array and the hash table."""
        return sum(part.nbytes for part in (self._ids, self._hash) if part is not None)

    def choose(self, ids, n):
        """Return the ids (n,) that n new rows shall have; changes nothing.

        Raises
        ------
        ValueError
            When given ids are not n, repeat, are known, or hold -1.
        """
        if ids is None:
            self._look_at_loaded()
            if n and self.next_id > 2**63 - n:
                raise ValueError("there are no ids left above the largest one in use; give ids")
            return run_of_ids(self.next_id, n) if n else np.empty(0, np.int64)
        ids = as_ids(ids)
        if len(ids) != n:
            raise ValueError(f"{n} rows were given with {len(ids)} ids")
        if (ids == -1).any():
            raise ValueError("id -1 stands for a missing result; give another")
        twice = repeated(ids)
        if twice is not None:
            raise ValueError(f"id {twice} is given twice")
        known = self.slots(ids) >= 0
        if known.any():
            raise ValueError(f"id {ids[known.argmax()]} is in the index already; use upsert to replace it")
        return ids

    def append(self, ids):
        """Give ids that `choose` returned to as many new slots at the end."""
        n = len(ids)
        if n == 0:
            return
        runs_on = int(ids[n - 1]) - int(ids[0]) == n - 1 and bool((np.diff(ids) == 1).all())
        if self._ids is None and runs_on and (self._n == 0 or ids[0] == self._base + self._n):
            if self._n == 0:
                self._base = int(ids[0])
            self._n += n
        else:
            self._store()
            old = self._n
            self._ids.resize(old + n)
            self._ids.rows[old:] = ids
            self._n += n
            if self._hash is not None:
                if 3 * self._n > 2 * len(self._hash):
                    self._hash = None  # made again, larger, when next needed
                else:
                    hash_insert(self._hash, self._ids.rows, old)
        self.next_id = max(self.next_id, int(ids.max()) + 1)
        self.version += 1

    def slots(self, ids):
        """Return the slot of each id, int64 (n,); -1 for an id that is not there. O(1) an id."""
        if self._ids is None:
            found = ids - self._base
            return np.where((found >= 0) & (found < self._n), found, -1)
        return hash_find(self._table(), self._ids.rows, ids)

    def bits(self, ids):
        """Return the slots of these ids, unknown ones left out, as `Bits`."""
        slots = self.slots(ids)
        mask = np.zeros(self._n, np.bool_)
        mask[slots[slots >= 0]] = True
        return Bits(mask)

    def spread(self, mask):
        """Return the bool (n_slots,) that says of slots what a mask over `array` says of rows."""
        if not self._dead:
            return mask
        slots = np.zeros(self._n, np.bool_)
        slots[self._ids.rows != -1] = mask
        return slots

    def remove(self, slots):
        """Drop slots (sorted, unique), moving the last rows into the holes.

        Returns
        -------
        sources, targets : ndarray of int64
            What moved where; every row container of the index must follow, and then keep the first `n_slots`.
        """
        if len(slots) and (self._ids is not None or slots[0] < self._n - len(slots)):
            hash_remove(self._own(), self._ids.rows, slots)
        return self._fill(slots)

    def bury(self, slots):
        """Let slots (unique, not dead) answer to no id any more, and stay."""
        if len(slots) == 0:
            return
        hash_remove(self._own(), self._ids.rows, slots)
        rows = self._ids.rows
        rows[slots] = -1
        # The first time they are counted: a damaged file may hold -1 where nothing was buried.
        self._dead = self._dead + len(slots) if self._dead else int(np.count_nonzero(rows == -1))
        self.version += 1

    def drop_dead(self):
        """Drop the slots that are dead; returns what `remove` does."""
        if not self._dead:
            return self._fill(np.empty(0, np.int64))
        self._own()
        moved = self._fill(np.flatnonzero(self._ids.rows == -1))
        self._dead = 0
        return moved

    def compact(self):
        """Give back memory, and forget a stored array that has become a plain run."""
        if self._ids is None:
            return
        rows = self._ids.rows
        n = len(rows)
        if self._dead:
            self._ids.compact()
        elif n == 0 or (int(rows[n - 1]) - int(rows[0]) == n - 1 and bool((np.diff(rows) == 1).all())):
            self._base = int(rows[0]) if n else 0
            self._ids = None
        else:
            self._ids.compact()
        self._hash = None

    def clear(self):
        """Forget every row; ids that were in use are still never given again."""
        self._n, self._dead, self._ids, self._hash = 0, 0, None, None
        self.version += 1

    def restore(self, n, base, next_id, ids, dead=0):
        """Take the state that a file holds: n slots from base on, or the array ids, -1 in the dead ones."""
        self._n, self._dead, self._base, self.next_id = n, dead, base, next_id
        self._ids = None if ids is None else Table.over(ids)
        self._hash = None
        self._loaded = n > 0
        self.version += 1

    def _look_at_loaded(self):
        # A damaged file may name a next id that is in use. Opening does not read the ids, so the first
        # `choose` does.
        if self._loaded:
            self.next_id = max(self.next_id, int(self.array.max(initial=-1)) + 1)
            self._loaded = False

    def _store(self):
        if self._ids is None:
            ids = Table(np.int64)
            ids.resize(self._n)
            ids.rows[:] = self.array
            self._ids = ids

    def _own(self):
        # Store the ids where they can be written to, and return the hash table over them.
        self._store()
        table = self._table()
        self._ids.own()
        return table

    def _fill(self, slots):
        # Move the last rows into the holes that slots, forgotten by the hash table, leave.
        sources, targets = moves(self._n, slots)
        if len(slots):
            self._n -= len(slots)
            if self._ids is not None:
                hash_move(self._table(), self._ids.rows, sources, targets)
                self._ids.resize(self._n)
            self.version += 1
        return sources, targets

    def _table(self):
        if self._hash is None:
            # At most two thirds full: a search then looks at two or three places.
            size = 16
            while 2 * size < 3 * (self._n + self._n // 4):
                size *= 2
            # Published whole: several searches may look for it at once.
            table = np.full(size, -1, np.int32)
            hash_insert(table, self._ids.rows, 0)
            self._hash = table
        return self._hash


cdef run_of_ids(int64_t first, Py_ssize_t n):
    # In memory that goes back to the system: most callers drop the array, and the heap would keep its pages.
    ids = allocate(n, (), np.int64)
    cdef int64_t[::1] view = ids
    cdef Py_ssize_t i
    for i in range(n):
        view[i] = first + i
    return ids


def repeated(ids):
    """Return an id that occurs twice, or None."""
    if len(ids) < 2 or bool((np.diff(ids) > 0).all()):
        return None
    ordered = np.sort(ids)
    same = np.diff(ordered) == 0
    return int(ordered[same.argmax()]) if same.any() else None


def moves(n, slots):
    """Return (sources, targets) that fill, from the end, gaps left by removing sorted `slots` of n rows."""
    left = n - len(slots)
    targets = slots[slots < left]
    tail = np.ones(n - left, np.bool_)
    tail[slots[slots >= left] - left] = False
    return np.flatnonzero(tail) + left, targets


cdef int64_t place(const int32_t[::1] table, const int64_t[::1] ids, int64_t key) noexcept nogil:
    # Where the key stands, or the free place where it would.
    cdef uint64_t mask = table.shape[0] - 1
    cdef uint64_t at = scatter(key) & mask
    while table[at] >= 0 and ids[table[at]] != key:
        at = (at + 1) & mask
    return <int64_t>at


def hash_insert(int32_t[::1] table, const int64_t[::1] ids, Py_ssize_t first):
    """Enter the slots from `first` on, but for dead ones."""
    cdef Py_ssize_t slot
    with nogil:
        for slot in range(first, ids.shape[0]):
            if ids[slot] != -1:
                table[place(table, ids, ids[slot])] = <int32_t>slot


def hash_find(const int32_t[::1] table, const int64_t[::1] ids, const int64_t[::1] keys):
    """Return the slots of keys, -1 where absent."""
    found = np.empty(keys.shape[0], np.int64)
    cdef int64_t[::1] view = found
    cdef Py_ssize_t i
    with nogil:
        for i in range(keys.shape[0]):
            view[i] = table[place(table, ids, keys[i])]
    return found


def hash_remove(int32_t[::1] table, const int64_t[::1] ids, const int64_t[::1] slots):
    """Take slots out, closing the gap behind each so that no search ends too early."""
    cdef uint64_t mask = table.shape[0] - 1, hole, at, home
    cdef Py_ssize_t i
    with nogil:
        for i in range(slots.shape[0]):
            hole = place(table, ids, ids[slots[i]])
            at = (hole + 1) & mask
            while table[at] >= 0:
                home = scatter(ids[table[at]]) & mask
                # An entry may move back to the hole unless its home lies between the two.
                if ((at - home) & mask) >= ((at - hole) & mask):
                    table[hole] = table[at]
                    hole = at
                at = (at + 1) & mask
            table[hole] = -1


def hash_move(int32_t[::1] table, int64_t[::1] ids, const int64_t[::1] sources, const int64_t[::1] targets):
    """Let the ids of sources answer at targets."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(sources.shape[0]):
            if ids[sources[i]] != -1:
                table[place(table, ids, ids[sources[i]])] = <int32_t>targets[i]
            ids[targets[i]] = ids[sources[i]]
