"""Rows in lists, each list with a LoRANN model of its own.

Training finds the projection and the centres of the lists. A list's model is fitted when its first rows come,
to these; rows that come later get their coefficients under it by the same formula. Once they are more than
`LATE` of those it was fitted to, it is fitted again, to all.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..clusters import assign, kmeans
from ..clusters.kmeans import sample
from ..clusters.lists import Lists
from ..contents import Sections
from ..ids import MAX_ROWS
from ..parallel.crew import run
from ..progress import Progress
from .lorann import Coarse, LorannCodes, Models, held
from .lorann_fit import apart, projection, reduced_rank
from .lorann_scorer import LorannScorer

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Decode = Callable[[npt.NDArray[Any]], F32]

# Places of a page: whole blocks of codes.
PAGE = 64
# Of k-means, for each cluster.
ROWS_A_CLUSTER = 128
ITERATIONS = 10
# Share of rows that came after a list's model was fitted, beyond which it is fitted again.
LATE = 0.3
# Lists that each query given to training counts for, and how many queries are kept.
ROUTES = 5
QUERIES = 16_384
# Lists that are fitted between two looks at the progress bar.
TOGETHER = 64
# Beyond it squares of squares would not be finite.
FINITE = 1e40
# Rows that are projected and given to lists together.
CHUNK = 16_384


class LorannLists:
    """Rows in lists, and their models.

    Parameters
    ----------
    dim : int
    squared_l2 : bool
        Else inner product.
    n_lists : int
    size : int, 1 .. dim
        Coordinates of the projection.
    rank : int
        Coefficients of a row beside its first; size - 1 at most are used.
    bits : {4, 8}
    seed : int

    Attributes
    ----------
    directions : float32 (size, dim)
        The columns of the projection.
    """

    def __init__(
        self, dim: int, squared_l2: bool, n_lists: int, size: int, rank: int, bits: int, seed: int
    ) -> None:
        self.dim, self.squared_l2, self.n_lists, self.seed = dim, squared_l2, n_lists, seed
        self.models = Models(size, min(rank, size - 1), bits)
        self.directions = np.zeros((0, dim), np.float32)
        self.queries = np.zeros((0, size), np.float32)
        self._coarse: Coarse | None = None
        self._routes: I64 | None = None
        self._turn = apart(self.models.rank + 1, np.random.default_rng(seed))
        self.clear()

    def clear(self) -> None:
        """Drop all rows; projection and centres stay."""
        self.lists = Lists(self.n_lists, PAGE)
        self.codes = LorannCodes(self.models.rank, self.models.bits, self.squared_l2)
        # Of each list: how many rows its model was fitted to, and how many came since.
        self.fitted: I64 = np.zeros(self.n_lists, np.int64)
        self.late: I64 = np.zeros(self.n_lists, np.int64)
        self._before = 0
        self._undo: list[Callable[[], None]] = []

    # Changing it

    def train(self, rows: F32, queries: F32 | None, progress: Progress) -> None:
        """Find projection and centres from rows, the projection from queries if they are given."""
        size, n_lists = self.models.size, self.n_lists
        self.models.resize(n_lists)
        some = sample(rows, max(ROWS_A_CLUSTER * n_lists, QUERIES), self.seed)
        basis = projection(some if queries is None else queries, size, self.seed)
        self.directions = held(basis.T)
        if queries is not None:
            self.queries = self._projected(sample(queries, QUERIES, self.seed))
        self.models.tables["centres"].rows[:] = kmeans(
            self._projected(sample(some, ROWS_A_CLUSTER * n_lists, self.seed)),
            n_lists,
            seed=self.seed,
            iterations=ITERATIONS,
            spherical=not self.squared_l2,
            progress=progress,
        )
        self._set_coarse()

    def append(self, rows: F32, decode: Decode, step: Callable[[int], None]) -> None:
        """Append rows; `decode` gives those of slots, old and new. `commit` or `truncate` follow."""
        counters, self._before = (self.fitted.copy(), self.late.copy()), len(self.lists)
        self._undo.append(lambda: self._set_counters(*counters))
        self.models.own()
        self.codes.own()
        chunks = [rows[first : first + CHUNK] for first in range(0, len(rows), CHUNK)]
        labels = np.concatenate([self.labels(self._projected(chunk)) for chunk in chunks])
        places = self.lists.append(labels.astype(np.uint32))
        self.codes.resize(self.lists.n_places)
        if self.squared_l2:
            norms = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
            self.codes.tables["norms"].rows[places] = norms
        came = np.bincount(labels, minlength=self.n_lists)
        self.late += came
        order, last = np.argsort(labels, kind="stable"), np.cumsum(came)

        def put(which: int) -> None:
            new = order[last[which] - came[which] : last[which]]
            if self.late[which] > LATE * self.fitted[which]:
                self._fit(which, decode)
            else:
                points = self._points(rows[new])
                self.codes.code(places[new], points, self.models.get(which), self._moments(which))

        lists = np.flatnonzero(came)
        for first in range(0, len(lists), TOGETHER):
            some = lists[first : first + TOGETHER]
            self._each(some, put)
            step(int(came[some].sum()))

    def refit(self, decode: Decode) -> int:
        """Fit the models of all lists again to which rows came since; return how many there were."""
        self.models.own()
        self.codes.own()
        due = np.flatnonzero(self.late)
        try:
            self._each(due, lambda which: self._fit(which, decode))
        finally:
            self.commit()
        return len(due)

    def commit(self) -> None:
        """Forget how to undo the last `append`."""
        self._undo = []

    def truncate(self, n: int) -> None:
        """Keep the first n slots, and undo what an `append` that was not committed did to the others."""
        while self._undo:
            self._undo.pop()()
        self._follow(*self.lists.truncate(n))
        self.codes.resize(self.lists.n_places)

    def move(self, sources: I64, targets: I64) -> None:
        """Let the slots of targets hold the rows of sources; what was appended stays."""
        self.commit()
        self._follow(*self.lists.remove(targets))
        self.lists.rename(sources, targets)

    def compact(self) -> None:
        """Lay the lists out anew, and give memory back."""
        self._follow(*self.lists.compact())
        self.codes.resize(self.lists.n_places)
        self.codes.compact()

    # Asking it

    def labels(self, points: F32) -> npt.NDArray[np.int32]:
        """Return the list of each point, in coordinates of the projection."""
        return assign(points, self.models.tables["centres"].rows, spherical=not self.squared_l2)[0]

    def scorer(self, queries: F32, threads: int) -> LorannScorer:
        """Return queries ready to be scored against the rows of lists."""
        assert self._coarse is not None
        return LorannScorer(self.squared_l2, queries, self._coarse, self.models, self.codes, threads)

    def nbytes(self, *, cold: bool) -> int:
        """Return the bytes of what only training, adding and fitting ask for, or of the rest."""
        if cold:
            return self.queries.nbytes + self.directions.nbytes + self.models.nbytes(cold=True)
        return (
            (0 if self._coarse is None else self._coarse.nbytes)
            + self.lists.nbytes
            + self.models.nbytes(cold=False)
            + self.codes.nbytes(cold=False)
            + self.fitted.nbytes
            + self.late.nbytes
        )

    # Files

    def sections(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays that a file holds."""
        arrays: dict[str, npt.NDArray[Any]] = {"directions": self.directions, "queries": self.queries}
        arrays |= {"fitted": self.fitted, "late": self.late}
        for prefix, codes, n in (
            ("models.", self.models, self.n_lists),
            ("places.", self.codes, self.lists.n_places),
        ):
            arrays |= {prefix + name: array for name, array in codes.sections(n).items()}
        return arrays | self.lists.sections()

    def restore(self, sections: Sections, n: int) -> None:
        """Take what `sections` gave of n slots, as read from a file."""
        n_lists, size = self.n_lists, self.models.size
        self.directions = sections.take("directions", np.float32, (size, self.dim))
        self.queries = sections.take("queries", np.float32, (None, size))
        self.models.restore(sections.under("models."), n_lists)
        for name, array in (
            ("directions", self.directions),
            ("queries", self.queries),
            ("models.centres", self.models.tables["centres"].rows),
        ):
            if not np.isfinite(array).all():
                raise sections.fault(name, "holds numbers that are not finite")
        self._set_coarse()
        for name in ("fitted", "late"):
            counts = sections.take(name, np.int64, (n_lists,))
            if counts.min() < 0 or counts.max() > MAX_ROWS:
                raise sections.fault(name, "holds numbers of rows that cannot be")
            setattr(self, name, np.array(counts))
        self.lists.restore(sections, n)
        self.codes.restore(sections.under("places."), self.lists.n_places)

    # Parts of the above

    def _follow(self, sources: I64, targets: I64, emptied: I64) -> None:
        # Places without a row hold zeros: what a file holds is what there is.
        if len(sources):
            self.codes.move(sources, targets)
        if len(emptied):
            self.codes.blank(emptied)

    def _set_coarse(self) -> None:
        self._coarse = Coarse(self.directions, self.models.tables["centres"].rows, self.squared_l2)

    def _projected(self, rows: F32) -> F32:
        return rows @ self.directions.T

    def _points(self, rows: F32) -> F64:
        """Return rows as models know them; finite whatever a damaged file made of them."""
        with np.errstate(all="ignore"):
            return np.clip(np.nan_to_num(self._projected(rows).astype(np.float64)), -FINITE, FINITE)

    @staticmethod
    def _each(lists: I64, put: Callable[[int], None]) -> None:
        """Do something for each of some lists, over threads: NumPy's LAPACK computes without the GIL."""

        def piece(begin: int, end: int, worker: int) -> None:
            for which in lists[begin:end].tolist():
                put(which)

        run(piece, len(lists), 4)

    def _set_counters(self, fitted: I64, late: I64) -> None:
        self.fitted, self.late = fitted, late

    def _moments(self, which: int) -> F64 | None:
        """Return the second moment of the queries that come to a list; None where rows stand for them."""
        if not len(self.queries):
            return None
        if self._routes is None:  # two threads may make it, and make the same
            near = self.queries @ self.models.tables["centres"].rows.T
            if self.squared_l2:
                near -= 0.5 * np.square(self.models.tables["centres"].rows).sum(axis=1)
            self._routes = np.argsort(-near, axis=1, kind="stable")[:, :ROUTES]
        came = self.queries[(self._routes == which).any(axis=1)].astype(np.float64)
        return came.T @ came if len(came) > self.models.rank else None

    def _fit(self, which: int, decode: Decode) -> None:
        slots = self.lists.slots_in(which).astype(np.int64)
        places, moments = self.lists.places_of(slots), self._moments(which)
        self._undo.append(self._as_it_is(which, places[slots < self._before]))
        points = self._points(decode(slots))
        model = reduced_rank(points, moments, self.models.rank + 1) @ self._turn
        self.codes.code(places, points, self.models.put(which, model), moments)
        self.fitted[which], self.late[which] = len(slots), 0

    def _as_it_is(self, which: int, places: I64) -> Callable[[], None]:
        """Return what brings back a list's model, and the codes of rows under it."""
        model = {name: table.rows[which].copy() for name, table in self.models.tables.items()}
        rows = LorannCodes(self.models.rank, self.models.bits, self.squared_l2)
        rows.resize(-(-len(places) // PAGE) * PAGE)
        rows.place(np.arange(len(places)), self.codes, places)

        def bring_back() -> None:
            for name, array in model.items():
                self.models.tables[name].rows[which] = array
            self.codes.place(places, rows, np.arange(len(places)))

        return bring_back
