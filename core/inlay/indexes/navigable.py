"""Indexes that walk a graph: rows as they are, or coded, linked to their neighbours."""

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..arrays import as_count
from ..codecs.codec import Codec
from ..contents import Sections, field
from ..graph.build import link
from ..graph.copies import Stored
from ..graph.graph import Graph
from ..graph.inner import InnerPairs
from ..graph.mend import heal, is_due, mend, reconnect
from ..graph.search import range_search, search
from ..ids import Bits
from ..parallel.crew import get_num_threads
from ..scorer import LinkScorer, Scorer
from ..tables import Table
from .coded import CodedIndex
from .codes import codec_of, is_code
from .family import CHUNK, F32, I64, Effort

# Rows that a search keeps in view unless told otherwise.
EF = 64
# Of the diversity rule, on squared distances.
OCCLUSION = 1.0


class NavigableIndex(CodedIndex):
    """An index that walks a graph over the codes of one codec, and may keep other rows beside it.

    Attributes
    ----------
    _squares : Table of float32, or None
        Squared lengths of the rows, by which "ip" links them.
    _graph : Graph
    """

    __slots__ = ("_ef", "_ef_construction", "_graph", "_squares")
    _ef: int | None
    EFFORT: ClassVar[tuple[str, ...]] = ("ef", "rerank")
    ef = Effort("How many rows a search keeps in view; None for the default.")
    rerank = Effort("How many of them are scored with everything that is known; None for the default.")
    MOVES_ROWS: ClassVar[bool] = False
    LONG: ClassVar[int] = 1 << 26

    def __init__(
        self, codecs: list[Codec], dim: int, metric: str, degree: int, ef_construction: int, seed: int
    ) -> None:
        super().__init__(codecs, dim, metric, seed)
        self._squares = Table(np.float32) if metric == "ip" else None
        self._graph = Graph(as_count(degree, "degree"))
        self._ef_construction = as_count(ef_construction, "ef_construction")

    # What it is

    @property
    def degree(self) -> int:
        """Most links of a row."""
        return self._graph.degree

    @property
    def ef_construction(self) -> int:
        """How many rows the search for the neighbours of a new one keeps in view; may be set at any time."""
        return self._ef_construction

    @ef_construction.setter
    def ef_construction(self, value: int) -> None:
        self._ef_construction = as_count(value, "ef_construction")

    def check(self) -> list[str]:
        """Return what is wrong with the graph: an empty list. O(n * degree)."""
        with self._lock.shared():
            return self._graph.check()

    @property
    def search_statistics(self) -> dict[str, int]:
        """How many searches there were, and how many vertices they expanded and evaluated, together."""
        graph = self._graph
        return {"searches": graph.walks, "expanded": graph.expanded, "evaluated": graph.evaluated}

    # Changing it

    def _reserve(self, n: int) -> None:
        super()._reserve(n)
        self._graph.table.reserve(n)

    def _store(self, rows: F32, step: Callable[[int], None]) -> None:
        for first in range(0, len(rows), CHUNK):
            self._append(self._prepared(rows[first : first + CHUNK]))
        threads = get_num_threads()
        graph, first = self._graph, len(self._graph)
        graph.begin(first + len(rows))
        pairs = self._pairs(threads, most=2 * len(rows) >= first + len(rows))
        stored = Stored(table.rows for _, codes in self._parts for table in codes.tables.values())
        link(graph, pairs, first, self._ef_construction, OCCLUSION, self.seed, threads, step, stored)
        if is_due(graph):
            mend(graph, pairs, None)
        else:
            reconnect(graph, pairs)

    def _commit(self) -> None:
        self._graph.commit()

    def _pairs(self, threads: int, *, most: bool = False) -> Scorer:
        codec, codes = self._parts[0]
        pairs = codec.pairs(codes, threads, most)
        return pairs if self._squares is None else InnerPairs(pairs, self._squares.rows, threads)

    def _append(self, rows: F32) -> None:
        super()._append(rows)
        if self._squares is not None:
            n = len(self._squares)
            self._squares.own()
            self._squares.resize(n + len(rows))
            with np.errstate(over="ignore"):  # beyond float32 is as good as infinite
                self._squares.rows[n:] = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)

    def _truncate(self, n: int) -> None:
        super()._truncate(n)
        if self._squares is not None:
            self._squares.resize(n)
        self._graph.truncate(n)

    def _heal(self, alive: Bits) -> None:
        threads = get_num_threads()
        self._take(heal(self._graph, self._pairs(threads), alive, OCCLUSION, self.seed, threads))

    def _take(self, graph: Graph) -> None:
        self._graph = graph

    def _move(self, sources: I64, targets: I64) -> None:
        super()._move(sources, targets)
        if self._squares is not None:
            self._squares.own()
            self._squares.rows[targets] = self._squares.rows[sources]
        self._graph.rename(sources, targets)

    def _clear(self) -> None:
        super()._clear()
        self._squares = Table(np.float32) if self.metric == "ip" else None
        self._graph = Graph(self.degree)

    def _shrink(self) -> None:
        super()._shrink()
        if self._squares is not None:
            self._squares.compact()
        self._graph.compact()

    # Asking it

    def _near(self, queries: F32, threads: int) -> Scorer:
        """Return what leads a walk to queries."""
        codec, codes = self._parts[0]
        return codec.scorer(queries, codes, threads)

    def _ahead(self, near: Scorer, threads: int) -> LinkScorer | None:
        """Return what estimates the scores of links for the queries of `_near`; None: the rows are scored."""
        return None

    def _search(self, queries: F32, k: int, allowed: Bits | None, effort: dict[str, Any]) -> tuple[F32, I64]:
        threads = min(get_num_threads(), max(len(queries), 1))
        ef = effort.get("ef", self._ef)
        candidates = self._candidates(k, effort)
        near = self._near(queries, threads)
        last = None
        if candidates:
            exact, rows = self._parts[-1]
            last = near if len(self._parts) == 1 else exact.scorer(queries, rows, threads)
        return search(
            self._graph,
            near,
            last,
            k,
            max(EF, 2 * k) if ef is None else ef,
            candidates,
            allowed,
            self._ids.stored,
            self._ids.base,
            self._ids.n_slots,
            threads,
            self._ahead(near, threads),
        )

    def _range(self, queries: F32, radii: F32, allowed: Bits | None) -> tuple[I64, F32, I64]:
        threads = get_num_threads()
        exact, rows = self._parts[-1]
        near = self._near(queries, threads)
        return range_search(
            self._graph,
            near,
            exact.scorer(queries, rows, threads),
            radii,
            max(EF, self._ef or 0),
            allowed,
            self._ids.stored,
            self._ids.base,
            self._ids.n_slots,
            threads,
            self._ahead(near, threads),
        )

    def _bytes(self, *, cold: bool) -> int:
        codec, codes = self._parts[0]
        total = codes.nbytes(cold=cold)
        if cold:
            total += 0 if self._squares is None else self._squares.nbytes
            rest = [codes for _, codes in self._parts[1:]]
            return total + sum(codes.nbytes(cold=True) + codes.nbytes(cold=False) for codes in rest)
        return total + codec.nbytes + self._graph.nbytes

    # Files

    def _state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        learned, sections = self._parts_state()
        if self._squares is not None:
            sections["squares"] = self._squares.rows[: self._ids.n_slots]
        fields, arrays = self._graph.state()
        return {**learned, "graph": fields}, {**sections, **arrays}

    def _restore(self, header: Mapping[str, Any], sections: Sections, n: int) -> None:
        self._restore_parts(header, sections, n)
        if self._squares is not None:
            self._squares = Table.over(sections.take("squares", np.float32, (n,)))
        self._graph.restore(field(header, "graph", dict), sections, n)


class GraphIndex(NavigableIndex):
    """A navigable graph over rows as they are, or over codes of them.

    Parameters
    ----------
    dim, metric, seed
        See `Index`.
    degree : int, 2 .. 512
        Most links of a row; each costs 4 bytes. What HNSW calls the degree of its lowest layer, 2 M.
    ef_construction : int
        How many rows the search for the neighbours of a new one keeps in view: more make a better graph more
        slowly.
    code : str or None
        How rows are stored: None as float32, or coded: "LVQ4", "LVQ8", "LVQ4x4", "LVQ4x8", "LVQ8x4", "LVQ8x8"
        (see `LVQIndex`), of which the first level leads the walk, and the best that it finds are scored again
        with both; "PQ48", "PQ96x4fs" (see `PQIndex`), "RVQ16x8" and the like (see `RVQIndex`).

    Attributes
    ----------
    ef : int or None
        Effort: how many rows a search keeps in view, at least k; None is max(64, 2 k).
    rerank : int or None
        Effort: how many of these are scored again with everything that a coded row has; None is all up to
        max(3 k, 30), also for codes in stages, whose tables are bytes. 0 trusts the walk.

    Notes
    -----
    A search evaluates about ef * degree / 2 rows. A row costs 4 * degree bytes beside its code. Removed rows
    stay, and are walked through but never returned, until a fifth of all are; then, and in `compact`, the
    graph is led around them. Rows of which the same is stored are one vertex, and take no more of a search
    than one. `range_search` is incomplete as every search of a graph is: it widens the beam until less than
    half of what it holds lies within the radius.

    References
    ----------
    Malkov and Yashunin, Efficient and robust approximate nearest neighbor search using hierarchical navigable
    small world graphs, 2016; Jayaram Subramanya et al., DiskANN, NeurIPS 2019 (one layer, diversity).
    """

    __slots__ = ("_code",)
    OPTIONS: ClassVar[tuple[str, ...]] = ("degree", "ef_construction", "code")

    def __init__(
        self,
        dim: int,
        metric: str = "l2",
        *,
        degree: int = 32,
        ef_construction: int = 128,
        code: str | None = None,
        seed: int = 0,
    ) -> None:
        dim, l2, seed = as_count(dim, "dim"), metric == "l2", as_count(seed, "seed", 0)
        self._code = None if code == "Flat" else code
        codec = codec_of("Flat" if code is None else code, dim, l2, seed, layout="rows")
        super().__init__([codec], dim, metric, degree, ef_construction, seed)

    @property
    def code(self) -> str | None:
        """How rows are stored; None for float32."""
        return self._code

    @property
    def spec(self) -> str:
        """The degree and the code: "HNSW32" or "HNSW32,LVQ8"."""
        return f"HNSW{self.degree}" + (f",{self._code}" if self._code else "")

    @classmethod
    def parse(cls, spec: str) -> dict[str, Any] | None:
        """Return the options that a spec such as "HNSW32,LVQ8" stands for."""
        parts = re.fullmatch(r"HNSW([1-9]\d{0,3})(?:,(.+))?", spec)
        if parts is None or not is_code(parts[2] or "Flat"):
            return None
        return {"degree": int(parts[1]), "code": None if parts[2] == "Flat" else parts[2]}

    def _candidates(self, k: int, effort: Mapping[str, Any]) -> int:
        # Of rows as they are the walk knows everything.
        return 0 if self._code is None else super()._candidates(k, effort)

    def _default_candidates(self, k: int) -> int:
        return max(3 * k, 30)
