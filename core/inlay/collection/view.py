"""A view is one state of a collection with all it takes to read it: the vectors, and an index over them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..contents import FormatError
from ..indexes import Index
from . import choice
from .columns import Columns
from .filters import Filter
from .records import Reader, State, Watch
from .vectors import F32, I64, Slots, Vectors

_PIECE = 16_384  # vectors read at once: 25 MB at 384 dimensions


@dataclass(frozen=True, slots=True)
class View:
    """One state of the collection: what a reader works with.

    Parameters
    ----------
    state : State
        What is committed.
    slots : Slots
    vectors : Vectors or None
        None while the dimension is not known.
    index : Index or None
        Holds exactly the rows of the documents. None like `vectors`.
    looked : int
        With how many documents scanning was found to be better than any graph.
    columns : Columns
        Of the generation: what filters go by.
    watch : Watch or None
        What was seen of recall last.
    """

    state: State
    slots: Slots
    vectors: Vectors | None = None
    index: Index | None = None
    looked: int = 0
    columns: Columns = field(default_factory=Columns)
    watch: Watch | None = None

    @property
    def metric(self) -> str:
        """The metric of the collection."""
        return self.state.metric

    @property
    def level(self) -> int:
        """The level of effort that a search takes."""
        return 0 if self.watch is None else self.watch.level

    def stats(self) -> dict[str, Any]:
        """Return what there is to know in numbers; see `Collection.stats`."""
        state, index = self.state, self.index
        return {
            "documents": state.n_live,
            "removed": state.removed,
            "dim": state.dim,
            "metric": state.metric,
            "index": state.spec if index is None else index.spec,
            "generation": state.generation,
            "index_bytes": 0 if index is None else index.nbytes,
            "index_bytes_hot": 0 if index is None else index.nbytes_hot,
            "vector_bytes": state.n_slots * (state.dim or 0) * 4,
            **self.columns.stats(),
            "effort_level": self.level,
            "recall": None if self.watch is None else self.watch.recall,
        }

    @property
    def is_outgrown(self) -> bool:
        """Whether the documents need another index."""
        if self.index is None:
            return False
        return choice.is_outgrown(self.state, self.index, self.state.n_live, self.looked)

    def matching(self, tree: Filter, reader: Reader) -> I64:
        """Return the rows of the documents that match a filter, in order of insertion."""
        return self.columns.matching(tree, reader, self.state, self.slots)

    def vectors_of(self, rows: I64) -> F32:
        """Return the vectors of rows that there are, (n, dim)."""
        assert self.vectors is not None
        return self.vectors.read(self.slots.of(rows))


def pieces(rows: I64) -> Iterator[tuple[int, I64]]:
    """Yield rows in pieces of some 25 MB of vectors, each with its position."""
    for start in range(0, len(rows), _PIECE):
        yield start, rows[start : start + _PIECE]


@contextmanager
def _checked(rows: I64, vectors: F32) -> Iterator[None]:
    """Tell a vector that no index can take from a mistake: all were checked before they were written."""
    try:
        yield
    except ValueError:
        broken = ~np.isfinite(vectors).all(axis=1)
        if broken.any():
            row = rows[broken.argmax()]
            raise FormatError(f"the vector of row {row} is not finite; the file is damaged") from None
        raise


def bring(view: View, index: Index, rows: I64) -> None:
    """Add rows to an index."""
    for _, piece in pieces(rows):
        vectors = view.vectors_of(piece)
        with _checked(piece, vectors):
            index.add(vectors, piece, progress=False)


def built(view: View, rows: I64) -> View:
    """Return the view with a new index, made from the vectors of these rows."""
    index = choice.new_index(view.state, len(rows))
    if len(rows):
        sample = choice.sample(rows)
        vectors = view.vectors_of(sample)
        with _checked(sample, vectors):
            index.train(vectors, progress=False)
    bring(view, index, rows)
    return _with(view, index)


def grown(view: View) -> View:
    """Return the view with the index that so many documents need; the one there is serves meanwhile.

    Where that would be a graph and none suits, it is the same index, and `looked` says so.
    """
    assert view.index is not None
    rows = np.sort(view.index.ids)
    if view.index.spec == choice.EXACT:
        return built(view, rows)
    asked = choice.asked(rows)
    for graph in choice.promising(view.state, view.vectors_of(choice.trial_sample(rows))):
        bring(view, graph, rows)
        if choice.finds_enough(graph, view.index, asked, view.vectors_of(asked)):
            return _with(view, graph)
    return replace(view, looked=len(rows))


def _with(view: View, index: Index) -> View:
    # The snapshot there may be is not of this index.
    return replace(view, state=replace(view.state, snapshot=None), index=index, looked=0)
