"""Indexes whose rows lie in lists, of which a search reads a few: what they have in common.

Training finds centres by k-means; a row goes to the list of its nearest centre, by the metric that searches
score by, and its codes lie beside those of its list (`clusters.lists`). A search asks the *coarse quantiser*,
an index of the centres, which lists are nearest, and reads these. If they do not hold as many rows, or not as
many allowed ones, as are wanted, it reads on.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import as_count, as_rows
from ..clusters import KMeans, assign, sample
from ..clusters.lists import Lists
from ..codecs.codec import Codec
from ..contents import FormatError, Sections, field
from ..ids import Bits
from ..progress import Progress
from . import probing
from .base import Index
from .coded import CodedIndex
from .exhaustive import LVQIndex
from .family import CHUNK, F32, I64, Effort
from .navigable import GraphIndex

# Lists from which a graph finds the nearest 64 in no more time than scanning the codes of all centres takes,
# and the nearest 16 in a third of it.
GRAPH_LISTS = 32_768
# Rows that are laid out together, list after list: 128 a list of 1,024, so that a list is few runs, and
# what is prepared beside the index stays small.
LAID_OUT = 8 * CHUNK
# Lists that an index has by itself, for n rows: so many times the square root of n.
LISTS_A_ROOT = 4
# Rows a list that training looks at.
ROWS_A_LIST = 256


# What finds the n nearest lists of some queries, int64 (n_queries, n); and what searches such lists.
Probe = Callable[[int], I64]
Look = Callable[[I64], tuple[F32, I64]]


class ListedIndex(CodedIndex):
    """An index whose codes lie in lists; slots are looked up where codes want places.

    Attributes
    ----------
    _centres : float32 (n_lists, dim)
        None before training, as all of these.
    _coarse : Index
        Of the centres.
    _lists : Lists
    """

    __slots__ = ("_centres", "_coarse", "_lists", "_n_lists", "_nprobe")
    _nprobe: int | None
    nprobe = Effort("Lists that a search reads; None for the default.")

    def __init__(self, codecs: list[Codec], dim: int, metric: str, n_lists: int | None, seed: int) -> None:
        super().__init__(codecs, dim, metric, seed)
        self._n_lists = None if n_lists is None else as_count(n_lists, "n_lists")
        self._centres: F32 | None = None
        self._coarse: Index | None = None
        self._lists: Lists | None = None

    @property
    def n_lists(self) -> int | None:
        """How many lists there are, or will be; None while that is left to training."""
        return self._n_lists

    @property
    def is_trained(self) -> bool:
        """Whether there are centres, and rows can be coded."""
        return self._centres is not None and super().is_trained

    # What a family says

    @abstractmethod
    def _learn_codes(self, rows: F32, centres: F32, progress: Progress) -> None:
        """Let codecs learn from rows, in the lists of these centres."""

    @abstractmethod
    def _put(self, rows: F32, labels: npt.NDArray[np.uint32], places: I64) -> None:
        """Code rows in these lists, at these places."""

    # Changing it

    def train(
        self, rows: npt.ArrayLike, *, centres: npt.ArrayLike | None = None, progress: Progress = None
    ) -> None:
        """Find the centres, and learn what codes need.

        Parameters
        ----------
        rows : array_like, (n, dim)
        centres : array_like, (n_lists, dim), optional
            Take these, and learn codes only.
        progress : bool, callable or None
            As for `Index.train`.

        Raises
        ------
        ValueError
            For bad rows or centres, or when the index already holds rows.
        """
        given = None if centres is None else as_rows(centres, self.dim, "centres")
        if given is not None and (not len(given) or self._n_lists not in (None, len(given))):
            raise ValueError(f"{len(given)} centres were given for {self._n_lists} lists")
        vectors = self._prepared(as_rows(rows, self.dim))
        with self._lock.exclusive():
            if len(self):
                raise ValueError("the index holds rows already, coded with what it learned; reset() it first")
            self._learn(vectors, None if given is None else np.array(self._prepared(given)), progress)

    def _train(self, rows: F32, progress: Progress) -> None:
        self._learn(rows, None, progress)

    def _learn(self, rows: F32, centres: F32 | None, progress: Progress) -> None:
        if centres is not None:
            n_lists = len(centres)
        else:
            n_lists = self._n_lists or max(1, round(LISTS_A_ROOT * len(rows) ** 0.5))
        some = sample(rows, ROWS_A_LIST * n_lists, self.seed)
        if centres is None:
            centres = KMeans(n_lists, self.metric, seed=self.seed).fit(some, progress=progress).centres
        self._learn_codes(some, centres, progress)
        coarse = coarse_of(centres, self.metric, self.seed)
        self._n_lists, self._centres, self._coarse = n_lists, centres, coarse
        self._lists = self._new_lists()

    def _new_lists(self) -> Lists:
        assert self._n_lists is not None
        return Lists(self._n_lists, max(codec.packed for codec, _ in self._parts))

    def _learned(self) -> Any:
        return self._n_lists, self._centres, self._coarse, super()._learned()

    def _unlearn(self, learned: Any) -> None:
        self._n_lists, self._centres, self._coarse, codecs = learned
        if self._centres is None:
            self._lists = None
        super()._unlearn(codecs)

    def _reserve(self, n: int) -> None:
        assert self._lists is not None
        # At most a page less one of each list holds nothing; memory that is never written to costs nothing.
        super()._reserve(max(self._lists.n_places, n + self._lists.n_lists * self._lists.page))

    def _store(self, rows: F32, step: Callable[[int], None]) -> None:
        for first in range(0, len(rows), LAID_OUT):
            self._lay_out(rows[first : first + LAID_OUT], step)

    def _append(self, rows: F32) -> None:
        self._lay_out(rows, lambda n: None)

    def _lay_out(self, rows: F32, step: Callable[[int], None]) -> None:
        """Store rows at the ends of their lists, in the order of their places."""
        assert self._lists is not None
        prepared = self._prepared(rows)
        labels = self._labels(prepared)
        places, n_places = self._lists.plan(labels)
        order = np.argsort(places)
        had = self._lists.n_places
        empty = np.ones(max(n_places - had, 0), np.bool_)
        empty[places[places >= had] - had] = False
        for _, codes in self._parts:
            codes.own()
            codes.resize(n_places)
            codes.blank(had + np.flatnonzero(empty))
        # From here on `_truncate` knows which places to clear.
        self._lists.append(labels)
        for first in range(0, len(order), CHUNK):
            chunk = order[first : first + CHUNK]
            self._put(prepared[chunk], labels[chunk], places[chunk])
            step(len(chunk))

    def _labels(self, rows: F32) -> npt.NDArray[np.uint32]:
        """Return the lists that rows belong to."""
        assert self._centres is not None
        return assign(rows, self._centres, spherical=self.metric != "l2")[0].astype(np.uint32)

    def _truncate(self, n: int) -> None:
        if self._lists is None:
            return
        self._follow_places(*self._lists.truncate(n))
        super()._truncate(self._lists.n_places)

    def _move(self, sources: I64, targets: I64) -> None:
        assert self._lists is not None
        self._follow_places(*self._lists.remove(targets))
        self._lists.rename(sources, targets)

    def _follow_places(self, sources: I64, targets: I64, emptied: I64) -> None:
        # Places without a row hold zeros: what a file holds is what the index holds.
        for _, codes in self._parts:
            if len(sources):
                codes.move(sources, targets)
            if len(emptied):
                codes.blank(emptied)

    def _clear(self) -> None:
        super()._clear()
        if self._lists is not None:
            self._lists = self._new_lists()

    def _shrink(self) -> None:
        if self._lists is None:
            return
        self._follow_places(*self._lists.compact())
        super()._truncate(self._lists.n_places)
        super()._shrink()

    def _decode(self, slots: I64) -> F32:
        if self._lists is None:
            return np.empty((0, self.dim), np.float32)
        return super()._decode(self._lists.places_of(slots))

    # Asking it

    def _probes(self, queries: F32, n: int) -> I64:
        """Return the n nearest lists of each query, nearest first, int64 (n_queries, n)."""
        assert self._coarse is not None
        # Nearest by estimates: which lists lie at the edge of what is read matters little.
        effort = {"rerank": 0} if isinstance(self._coarse, LVQIndex) else {"ef": 2 * n}
        return self._coarse._search(queries, n, None, effort)[1]

    # Files

    def _bytes(self, *, cold: bool) -> int:
        total = sum(codes.nbytes(cold=cold) for _, codes in self._parts[:1])
        if cold:
            return total + sum(codes.nbytes(cold=False) for _, codes in self._parts[1:])
        if self._centres is not None and self._coarse is not None and self._lists is not None:
            total += self._centres.nbytes + self._coarse.nbytes + self._lists.nbytes
        return total + sum(codec.nbytes for codec, _ in self._parts)

    @property
    def _n_stored(self) -> int:
        return 0 if self._lists is None else self._lists.n_places

    def _state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        fields, sections = self._parts_state()
        if self._centres is None or self._coarse is None or self._lists is None:
            return {**fields, "trained": False}, sections
        sections["centres"] = self._centres
        sections["coarse"] = np.frombuffer(self._coarse.to_bytes(), np.uint8)
        return {**fields, "trained": True}, {**sections, **self._lists.sections()}

    def _restore(self, header: Mapping[str, Any], sections: Sections, n: int) -> None:
        if not field(header, "trained", bool):
            if n:
                raise FormatError(f"holds {n} rows but no lists", file=sections.file)
            self._restore_parts(header, sections, 0)
            return
        centres = sections.take("centres", np.float32, (self._n_lists, self.dim))
        if self._n_lists is None or not np.isfinite(centres).all():
            raise sections.fault("centres", "are not as many finite rows as the header says")
        self._centres, self._coarse = centres, restored_coarse(sections, centres, self.metric)
        self._lists = self._new_lists()
        self._lists.restore(sections, n)
        self._restore_parts(header, sections, self._lists.n_places)
        if not self.is_trained:
            raise FormatError("holds lists but nothing that rows are coded with", file=sections.file)


def read_lists(
    asked: Callable[[F32], tuple[Probe, Look]],
    queries: F32,
    k: int,
    nprobe: int,
    lists: Lists,
    allowed: Bits | None,
    wanted: int,
) -> tuple[F32, I64]:
    """Search the nprobe nearest lists of each query, four times as many where these hold too few rows.

    Parameters
    ----------
    asked
        What prepares some queries: returns what finds their nearest lists, and what searches these.
    wanted
        Rows, allowed ones, that the lists of a query hold at least if all lists together do.
    """
    probe, look = asked(queries)
    probes = probe(nprobe)
    if nprobe == lists.n_lists:
        return look(probes)
    short = probing.short_of(lists, probes, allowed, wanted)
    if short is None:
        return look(probes)
    scores, found = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    for part, n in ((~short, nprobe), (short, min(4 * nprobe, lists.n_lists))):
        if part.any():
            scores[part], found[part] = read_lists(asked, queries[part], k, n, lists, allowed, wanted)
    return scores, found


def coarse_of(centres: F32, metric: str, seed: int) -> Index:
    """Return an index of centres: their codes, scanned, or a graph when they are many."""
    dim = centres.shape[1]
    # Centres of cosine are those of inner products: of length 1.
    of = "l2" if metric == "l2" else "ip"
    coarse: Index
    if len(centres) >= GRAPH_LISTS:
        coarse = GraphIndex(dim, of, seed=seed)
    else:
        coarse = LVQIndex(dim, of, bits=8, residual_bits=0, n_means=1, seed=seed)
    coarse.add(centres, progress=False)
    return coarse


def restored_coarse(sections: Sections, centres: F32, metric: str) -> Index:
    """Return the index of centres that a file holds."""
    data = sections.take("coarse", np.uint8, (None,))
    coarse: Index | None = None
    for kind in (LVQIndex, GraphIndex):
        try:
            coarse = kind.from_bytes(data.data)
        except FormatError as error:
            fault = error
    if coarse is None:
        raise sections.fault("coarse", f"is no index of centres: {fault}") from None
    right = (len(centres), centres.shape[1], "l2" if metric == "l2" else "ip")
    if (len(coarse), coarse.dim, coarse.metric) != right or not np.array_equal(
        coarse.ids, np.arange(len(centres))
    ):
        raise sections.fault("coarse", "is an index of other centres")
    return coarse
