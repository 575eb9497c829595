"""Which documents a filter selects: a dict is asked of the columns, a function of one after the other."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import filters
from .records import Reader, Record
from .vectors import I64
from .view import View

Function = Callable[[filters.Candidate], object]
Given = Mapping[str, Any] | filters.Filter | Function | None  # what users give
Judge = filters.Filter | Function | None
Allowed = I64 | Function | None  # what a search goes by: rows, or a function that is asked on the way


def judge(filter: Given) -> Judge:
    """Return a filter as the tree it means, a tree and a function as they are, None if all is selected.

    Raises
    ------
    TypeError, ValueError
        As `filters.parse`.
    """
    if filter is None or callable(filter):
        return filter
    tree = filter if isinstance(filter, filters.Filter) else filters.parse(filter)
    return None if tree == filters.And(()) else tree


def allowed(view: View, reader: Reader, judge: Judge, ids: Sequence[str] | None) -> Allowed:
    """Return the rows that a filter selects, of all or of some ids.

    A function without ids is left for the search to ask about the nearest documents only.
    """
    return judge if ids is None and (judge is None or callable(judge)) else selected(view, reader, judge, ids)


def selected(view: View, reader: Reader, judge: Judge, ids: Sequence[str] | None = None) -> I64:
    """Return the rows of the documents that a filter selects, of all or of some ids; ascending."""
    known = None if ids is None else np.unique(np.fromiter(reader.rows_of(ids).values(), np.int64))
    if judge is None:
        return reader.rows() if known is None else known
    if not callable(judge):
        rows = view.matching(judge, reader)
        return rows if known is None else np.intersect1d(known, rows, assume_unique=True)
    rows = reader.rows() if known is None else known
    return rows[np.fromiter(answers(reader, judge, rows), np.bool_, len(rows))]


def answers(reader: Reader, function: Function, rows: I64) -> Iterator[bool]:
    """Yield what a function says about each row in turn; documents are read as far as somebody listens."""
    for record in read(reader, rows):
        yield bool(function(filters.Candidate(record.id, record.text, record.metadata)))


def read(reader: Reader, rows: I64) -> Iterator[Record]:
    """Yield the documents of rows, a hundred at a time."""
    for start in range(0, len(rows), 100):
        yield from reader.records(rows[start : start + 100])
