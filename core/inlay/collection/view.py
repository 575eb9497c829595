"""A view is one state of a collection with all it takes to read it: the vectors, and an index over them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from ..contents import FormatError
from ..indexes import Index
from . import upkeep
from .records import State
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
    """

    state: State
    slots: Slots
    vectors: Vectors | None = None
    index: Index | None = None

    @property
    def metric(self) -> str:
        """The metric of the collection."""
        return self.state.metric

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
    index = upkeep.new_index(view.state, len(rows))
    if len(rows):
        sample = upkeep.sample(rows)
        vectors = view.vectors_of(sample)
        with _checked(sample, vectors):
            index.train(vectors, progress=False)
    bring(view, index, rows)
    # The snapshot there may be is not of this index.
    return replace(view, state=replace(view.state, snapshot=None), index=index)
