"""Columns: which value of a key each document has, as small numbers; a filter becomes a comparison of arrays.

    codes      one for each slot: 0 without a value, otherwise the number of the value
    runs       the distinct numbers, strings, dates, ...: ascending within their kind, so that what is equal
               to something has one code, and a range is a run of codes
    loose      the other distinct values (lists, dicts, booleans), and those too new to be sorted in; they are
               asked one by one

Equality and ranges compare the codes of all slots, 5 to 40 us for 200,000 of them, where SQLite walks through
the JSON of all metadata for 90 ms. What a condition means is said in `filters` only: here it is asked once of
each distinct value.

A column is made when a filter first asks for its key, and then follows the documents: rows never change their
values but by `update_metadata`, of which the database keeps a log, so only what is new is read. A compaction
begins anew. There is a limit to the memory of all columns; a key that would take more than all of it is left
to SQL, see `filter_sql`.
"""

import sys
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from ..contents import FormatError
from . import filters, metadata
from .filters import And, Filter, In, Leaf, Not, Or, Order
from .records import Reader, State
from .vectors import I64, Slots

Mask = npt.NDArray[np.bool_]
Span = tuple[int, int]  # codes from one up to another

BUDGET = 128 << 20  # bytes of all columns of a collection
_LOOSE = 256  # values that may wait to be sorted in: asking them takes 0.1 ms
_ENTRY = 100  # bytes that a dict takes for one of them
_COMPARED = 16  # spans of codes that are faster compared one by one than looked up in a table

_SORTED = (*filters.ORDERED, "UUID", "bytes")


class Column:
    """The values of one key.

    Attributes
    ----------
    n_slots : int
        Up to where it is filled.
    nbytes : int
        Memory, estimated for the values.
    """

    def __init__(self) -> None:
        self.n_slots = 0
        self._codes: npt.NDArray[np.unsignedinteger[Any]] = np.zeros(0, np.uint8)
        self._runs: dict[str, tuple[int, list[Any]]] = {}  # kind: the first code and the values, ascending
        self._first_loose = 1
        self._loose: list[Any] = []
        self._order_of: list[str | None] = []  # the kinds in which the loose ones have an order
        self._code_of: dict[str, int] = {}  # loose ones by their text
        self._n_sortable = 0  # of the loose ones
        self._value_bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes of codes and values."""
        return self._codes.nbytes + self._value_bytes

    def put(self, slots: I64, texts: Iterable[str]) -> None:
        """Set the values of slots, each as the JSON text that `Reader.values` gives."""
        known: dict[str, int] = {}
        codes = []
        for text in texts:
            code = known.get(text)
            if code is None:
                code = known[text] = self._code(text)
            codes.append(code)
        self._reserve(int(slots.max(initial=-1)) + 1)
        self._codes[slots] = codes

    def fill(self, n_slots: int) -> None:
        """Say that all slots up to here were put; those that were not have no value."""
        self._reserve(n_slots)
        self.n_slots = n_slots
        if self._n_sortable > (_LOOSE if self._runs else 0):
            self._sort()

    def mask(self, leaf: Leaf) -> Mask:
        """Return which slots meet a condition on the key."""
        if isinstance(leaf, In) and self._n_sortable and len(leaf.values) > _LOOSE:
            self._sort()  # each of the many would be compared with each of the loose ones
        spans = _merged(self._spans(leaf))
        codes = self._codes[: self.n_slots]
        if len(spans) > _COMPARED:
            wanted = np.zeros(self._first_loose + len(self._loose), np.bool_)
            for start, stop in spans:
                wanted[start:stop] = True
            looked_up: Mask = wanted[codes]
            return looked_up
        found: Mask | None = None
        for start, stop in spans:
            if stop == start + 1:
                some = codes == start
            else:
                some = codes >= start
                if stop < self._first_loose + len(self._loose):
                    some &= codes < stop
            found = some if found is None else found | some
        return np.zeros(self.n_slots, np.bool_) if found is None else found

    def _spans(self, leaf: Leaf) -> list[Span]:
        """Return the codes whose values meet a condition."""
        if isinstance(leaf, In):
            spans = [(0, 1)] if any(value is None for value in leaf.values) else []
            spans += [span for value in leaf.values for span in self._equal(_order_of(value), value)]
            kinds = {filters.kind(value) for value in self._loose}
            leaf = In(leaf.key, tuple(value for value in leaf.values if filters.kind(value) in kinds))
        elif isinstance(leaf, Order):
            spans = self._ordered(leaf)
        else:
            spans = [
                (start + i, start + i + 1)
                for start, values in self._runs.values()
                for i, value in enumerate(values)
                if filters.holds(leaf, value)
            ]
        first = self._first_loose
        return spans + [
            (first + i, first + i + 1) for i, v in enumerate(self._loose) if filters.holds(leaf, v)
        ]

    def _equal(self, kind: str | None, value: Any) -> list[Span]:
        start, values = self._runs.get(kind or "", (0, []))
        at = bisect_left(values, value)
        return [(start + at, start + at + 1)] if at < len(values) and values[at] == value else []

    def _ordered(self, leaf: Order) -> list[Span]:
        kind = _order_of(leaf.operand)
        if kind not in filters.ORDERED:
            return []
        start, values = self._runs.get(kind, (0, []))
        at = (bisect_left if leaf.sign in ("<", ">=") else bisect_right)(values, leaf.operand)
        return [(start, start + at) if leaf.sign.startswith("<") else (start + at, start + len(values))]

    # Making codes

    def _code(self, text: str) -> int:
        code = self._code_of.get(text)
        if code is not None:
            return code
        value = metadata.revive(text)[0]
        if value is None:
            return 0
        kind = _order_of(value)
        for start, _ in self._equal(kind, value):
            return start
        code = self._code_of[text] = self._first_loose + len(self._loose)
        self._loose.append(value)
        self._order_of.append(kind)
        self._n_sortable += kind is not None
        self._value_bytes += sys.getsizeof(text) + sys.getsizeof(value) + _ENTRY
        return code

    def _reserve(self, n_slots: int) -> None:
        codes = self._codes
        kind = np.min_scalar_type(self._first_loose + len(self._loose))
        if codes.dtype.itemsize < kind.itemsize:
            codes = codes.astype(kind)
        if len(codes) < n_slots:
            # Room for more, as it is often one document that comes.
            codes = np.zeros(n_slots + n_slots // 8, codes.dtype)
            codes[: len(self._codes)] = self._codes
        self._codes = codes

    def _sort(self) -> None:
        """Sort the loose values that have an order in among the others, and number all anew."""
        waiting: dict[str, list[tuple[Any, int]]] = {}
        left: dict[str, int] = {}
        for text, code in self._code_of.items():
            kind = self._order_of[code - self._first_loose]
            if kind is None:
                left[text] = code
            else:
                waiting.setdefault(kind, []).append((self._loose[code - self._first_loose], code))
        renumbered = np.zeros(self._first_loose + len(self._loose), np.uint32)
        runs: dict[str, tuple[int, list[Any]]] = {}
        after = 1
        for name in sorted({*self._runs, *waiting}):
            start, values = self._runs.get(name, (0, []))
            pairs = [*zip(values, range(start, start + len(values)), strict=True), *waiting.get(name, ())]
            pairs.sort(key=itemgetter(0))
            distinct: list[Any] = []
            for value, code in pairs:
                if not distinct or distinct[-1] != value:
                    distinct.append(value)
                renumbered[code] = after + len(distinct) - 1
            runs[name] = after, distinct
            after += len(distinct)
        loose = [self._loose[code - self._first_loose] for code in left.values()]
        renumbered[list(left.values())] = np.arange(after, after + len(left))
        self._code_of = dict(zip(left, range(after, after + len(left)), strict=True))
        self._runs, self._first_loose = runs, after
        self._loose, self._order_of, self._n_sortable = loose, [None] * len(loose), 0
        self._codes = renumbered[self._codes].astype(np.min_scalar_type(after + len(left)))
        self._value_bytes = sum(sys.getsizeof(text) + _ENTRY for text in left) + sum(
            sys.getsizeof(value) + 8 for values in (loose, *(v for _, v in runs.values())) for value in values
        )


def _order_of(value: Any) -> str | None:
    """Return the kind in which a value has an order; None if it has none, as lists and NaN."""
    kind = filters.kind(value)
    if kind == "str":
        return kind
    return kind if kind in _SORTED and filters.equal(value, value) else None


def _merged(spans: Sequence[Span]) -> list[Span]:
    """Return spans in order, those that touch as one and empty ones left out."""
    merged: list[Span] = []
    for start, stop in sorted(span for span in spans if span[0] < span[1]):
        if merged and merged[-1][1] >= start:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        else:
            merged.append((start, stop))
    return merged


class Columns:
    """The columns of one generation of a collection; any thread may use them.

    Parameters
    ----------
    budget : int
        Bytes that all together may take. The column that was not asked for the longest time goes first.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._columns: dict[str, Column] = {}  # the last one asked for is the last
        self._too_large: set[str] = set()
        self._live: Mask = np.zeros(0, np.bool_)
        self._state: State | None = None

    def stats(self) -> dict[str, Any]:
        """Return what there is to know in numbers; see `Collection.stats`."""
        with self._lock:
            return {"filter_keys": sorted(self._columns), "filter_bytes": self._nbytes}

    @property
    def _nbytes(self) -> int:
        return self._live.nbytes + sum(column.nbytes for column in self._columns.values())

    def matching(self, tree: Filter, reader: Reader, state: State, slots: Slots) -> I64:
        """Return the rows of the documents that match a filter, in order of insertion.

        Parameters
        ----------
        tree : Filter
        reader : Reader
            Of the state.
        state : State
        slots : Slots
            Of its generation.
        """
        with self._lock:
            self._follow(reader, state, slots)
            found = self._mask(tree, reader, state, slots)
            found &= self._live[: state.n_slots]
        return slots.rows_of(np.flatnonzero(found))

    def _follow(self, reader: Reader, state: State, slots: Slots) -> None:
        """Take over what was removed and changed since the last filter; what was added is for `_column`."""
        before = self._state
        if before is not None and before.version == state.version:
            return
        if len(self._live) < state.n_slots:
            live = np.ones(state.n_slots + state.n_slots // 8, np.bool_)
            live[: len(self._live)] = self._live
            self._live = live
        self._live[slots.of(reader.gone(0 if before is None else before.removed))] = False
        changed = reader.patched(0 if before is None else before.patches)
        for key, column in self._columns.items():
            for rows, texts in reader.values_of(key, changed):
                column.put(_placed(rows, state, slots), texts)
            column.fill(column.n_slots)
        self._state = state

    def _mask(self, node: Filter, reader: Reader, state: State, slots: Slots) -> Mask:
        match node:
            case And(parts) | Or(parts):
                combine = np.logical_and if isinstance(node, And) else np.logical_or
                masks = [self._mask(part, reader, state, slots) for part in parts]
                first = masks.pop(0) if masks else np.full(state.n_slots, isinstance(node, And))
                for mask in masks:
                    combine(first, mask, out=first)
                return first
            case Not(part):
                return ~self._mask(part, reader, state, slots)
        column = self._column(node.key, reader, state, slots)
        if column is not None:
            return column.mask(node)
        found = np.zeros(state.n_slots, np.bool_)
        found[_placed(reader.matching(node), state, slots)] = True
        return found

    def _column(self, key: str, reader: Reader, state: State, slots: Slots) -> Column | None:
        """Return the column of a key, filled; None if it takes too much memory."""
        if key in self._too_large:
            return None
        column = self._columns.pop(key, None) or Column()
        # Once it is filled, no row is missing that a compaction has kept.
        first_row = state.first_row + column.n_slots - state.n_kept if column.n_slots else 0
        for rows, texts in reader.values(key, first_row) if column.n_slots < state.n_slots else ():
            column.put(_placed(rows, state, slots), texts)
            if column.nbytes > self._budget:
                self._too_large.add(key)
                return None
        if column.n_slots < state.n_slots:
            column.fill(state.n_slots)
        self._columns[key] = column
        while len(self._columns) > 1 and self._nbytes > self._budget:
            del self._columns[next(iter(self._columns))]
        return column


def _placed(rows: I64, state: State, slots: Slots) -> I64:
    """Return the slots of rows that the database names."""
    found = slots.of(rows)
    if len(found) and (found.min() < 0 or found.max() >= state.n_slots):
        raise FormatError("a document has a row that was never given")
    return found
