"""Graphs: `IndexHNSW` over rows or codes, and the two of ours that walk by smaller codes.

There is one layer, whose links are those of HNSW's lowest: 2 M a row. What FAISS keeps in `index.hnsw` is
shown by a small view of the index itself. Labels stay after removals; a filter that leaves few rows becomes a
scan of these, so that min(k, allowed) results come back.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import inlay
from inlay.codecs.additive import AdditiveCodec
from inlay.indexes.coded import CodedIndex
from inlay.indexes.navigable import NavigableIndex

from .arrays import F32, I64, as_int
from .coded import IndexLVQ, IndexPQ, IndexRVQ, IndexScalarQuantizer
from .codes import ProductQuantizer, ScalarQuantizer, of_bits, product_quantizer
from .errors import IndexOperationError
from .flat import IndexFlat
from .kind import METRIC_L2, Values
from .statistics import cvar
from .stored import StoredIndex

# Of partial codes that coding keeps, at most.
WIDEST_BEAM = 64


class HNSW:
    """What `index.hnsw` shows of a graph, and lets be set.

    Attributes
    ----------
    efSearch : int
        Rows that a search keeps in view; k at least.
    efConstruction : int
        The same for the search for a new row's neighbours.
    """

    def __init__(self, index: "IndexGraph") -> None:
        self.__dict__["_index"] = index

    def __getattr__(self, name: str) -> int:
        if name in ("efSearch", "efConstruction"):
            value: int = getattr(self._index, name)
            return value
        raise AttributeError(f"index.hnsw shows efSearch and efConstruction, and no {name!r}")

    def __setattr__(self, name: str, value: int) -> None:
        if name not in ("efSearch", "efConstruction"):
            raise AttributeError(f"index.hnsw has efSearch and efConstruction to set, and no {name!r}")
        setattr(self._index, name, value)

    def nb_neighbors(self, layer_no: int) -> int:
        """Return the most links of a row on a layer: of layer 0, which has all rows; half as many above."""
        return self._core.degree // (2 if as_int(layer_no, "layer_no", 0) else 1)

    @property
    def _core(self) -> NavigableIndex:
        core = self.__dict__["_index"].core
        assert isinstance(core, NavigableIndex)
        return core


class IndexGraph(StoredIndex):
    """What graphs have in common.

    Attributes
    ----------
    efSearch : int
        Rows that a search keeps in view; k at least.
    efConstruction : int
        The same for the search for a new row's neighbours.
    hnsw : HNSW
        The same two, where FAISS has them.
    """

    SHIFTS = False
    SAVED: ClassVar[tuple[str, ...]] = ("efSearch",)
    EFFORT: ClassVar[Mapping[str, str]] = {"efSearch": "efSearch", "efConstruction": "efConstruction"}

    efSearch: int = 64

    @property
    def _takes_labels(self) -> bool:
        return False

    @property
    def efConstruction(self) -> int:
        """Rows that the search for a new row's neighbours keeps in view."""
        return self._graph.ef_construction

    @efConstruction.setter
    def efConstruction(self, value: int) -> None:
        self._graph.ef_construction = as_int(value, "efConstruction", 1)

    @property
    def hnsw(self) -> HNSW:
        """The effort of searches, where FAISS has it."""
        return HNSW(self)

    @property
    def _graph(self) -> NavigableIndex:
        assert isinstance(self._core, NavigableIndex)
        return self._core

    def _find(self, x: F32, k: int, allowed: I64 | None, effort: Mapping[str, Any]) -> Values:
        before = self._graph.search_statistics
        found = super()._find(x, k, allowed, effort)
        after = self._graph.search_statistics
        hops, scored = (after[name] - before[name] for name in ("expanded", "evaluated"))
        cvar.hnsw_stats.count(len(x), hops, scored)
        return found

    def _efforts(self, k: int, effort: Mapping[str, Any]) -> dict[str, Any]:
        return {"ef": max(as_int(effort.get("efSearch", self.efSearch), "efSearch", 1), k)}

    @property
    def factory_string(self) -> str:
        """What `index_factory` takes for it."""
        return self._core.spec


class IndexHNSW(IndexGraph):
    """A navigable graph over float32 rows or codes, which grows row by row.

    Parameters
    ----------
    d : int
    M : int
        Half the most links of a row, as for HNSW.
    metric : int
    code : str or None
        The core's code of rows, "LVQ8", "RVQ8x8" and the like; None is float32.
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d", "M", "metric", "code")

    M: int
    code: str | None
    efSearch: int = 16

    def __init__(self, d: int, M: int = 32, metric: int = METRIC_L2, code: str | None = None) -> None:
        self.M, self.code = as_int(M, "M", 1), code
        super().__init__(d, metric)
        codec = self._graph.codecs[0]
        self.fewest_rows = codec.entries if isinstance(codec, AdditiveCodec) else 1

    def _new_core(self, metric: str) -> inlay.Index:
        return inlay.GraphIndex(self.d, metric, degree=2 * self.M, ef_construction=40, code=self.code)

    @property
    def factory_string(self) -> str:
        """Such as "HNSW32,Flat" and the like."""
        return f"HNSW{self.M},{self.code or 'Flat'}"

    @property
    def storage(self) -> StoredIndex:
        """The rows alone, in the order in which they were added: a copy, made at each call."""
        storage = self._empty_storage()
        with self._lock.shared():
            if self.ntotal:
                rows = self._rows(self._names.keys)
                if not storage.is_trained:
                    storage.train(rows)
                storage.add(rows)
        storage._read_only = True
        return storage

    def _empty_storage(self) -> StoredIndex:
        if self.code is None:
            return IndexFlat(self.d, self.metric_type)
        first, _, second = self.code[3:].partition("x")
        if self.code.startswith("RVQ"):
            return self._teach(IndexRVQ(self.d, int(first), int(second), self.metric_type))
        return IndexLVQ(self.d, int(first), int(second or 0), self.metric_type)

    def _teach(self, storage: StoredIndex) -> StoredIndex:
        """Let rows be coded by the graph's codewords; a wide beam finds those that a row is the sum of."""
        assert isinstance(storage.core, CodedIndex)
        codec = storage.core.codecs[0]
        assert isinstance(codec, AdditiveCodec)
        if self.is_trained:
            codec.unlearn(self._graph.codecs[0].learned())
        codec.beam = WIDEST_BEAM
        return storage


class IndexHNSWFlat(IndexHNSW):
    """A navigable graph over float32 rows.

    Parameters
    ----------
    d, M, metric
        See `IndexHNSW`.
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d", "M", "metric")

    def __init__(self, d: int, M: int = 32, metric: int = METRIC_L2) -> None:
        super().__init__(d, M, metric)


class IndexHNSWSQ(IndexHNSW):
    """A navigable graph over a scalar quantiser's codes.

    Parameters
    ----------
    d : int
    qtype : int
        See `IndexScalarQuantizer`.
    M, metric
        See `IndexHNSW`.
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d", "qtype", "M", "metric")

    sq: ScalarQuantizer

    def __init__(
        self,
        d: int,
        qtype: int = ScalarQuantizer.QT_8bit,
        M: int = 32,
        metric: int = METRIC_L2,
    ) -> None:
        self.sq = ScalarQuantizer(d, qtype)
        super().__init__(d, M, metric, self.sq.code)
        self.sq.prepare(self._core)

    def _learn(self, x: F32) -> None:
        if self.sq.learns or not self.ntotal:
            super()._learn(x)

    def _empty_storage(self) -> StoredIndex:
        return IndexScalarQuantizer(self.d, self.qtype, self.metric_type)

    @property
    def factory_string(self) -> str:
        """Such as "HNSW32,SQ8" and the like."""
        return f"HNSW{self.M},{self.sq.name}"

    @property
    def qtype(self) -> int:
        """The kind of quantiser."""
        return self.sq.qtype


class IndexHNSWPQ(IndexHNSW):
    """A navigable graph over the codes of product quantisation.

    Parameters
    ----------
    d : int
    pq_m : int
        Groups of dimensions, as equal as can be.
    M : int
        See `IndexHNSW`.
    pq_nbits : {4, 8}
        Of a group's code.
    metric : int
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d", "pq_m", "M", "pq_nbits", "metric")

    pq_m: int
    pq_nbits: int

    def __init__(self, d: int, pq_m: int, M: int = 32, pq_nbits: int = 8, metric: int = METRIC_L2) -> None:
        self.pq_m, self.pq_nbits = as_int(pq_m, "pq_m", 1), of_bits(pq_nbits)
        super().__init__(d, M, metric, f"PQ{self.pq_m}x{self.pq_nbits}")

    def _empty_storage(self) -> StoredIndex:
        return self._teach(IndexPQ(self.d, self.pq_m, self.pq_nbits, self.metric_type))

    @property
    def pq(self) -> ProductQuantizer:
        """The quantiser."""
        return product_quantizer(self._core)


class _WalkedByCodes(IndexGraph):
    """A graph that is walked by small codes, with rows beside it for the last word."""

    #: The core's index, what `index_factory` calls it, and what the core calls the ways to keep rows.
    CORE: ClassVar[type[inlay.SymphonyQGIndex | inlay.QuIVerIndex]]
    NAME: ClassVar[str]
    VECTORS: ClassVar[Mapping[str, str]]

    MADE_OF: ClassVar[tuple[str, ...]] = ("d", "R", "metric", "code")

    R: int
    code: str

    def __init__(self, d: int, R: int = 32, metric: int = METRIC_L2, code: str = "Flat") -> None:
        if code not in self.VECTORS:
            raise IndexOperationError(f"{self.NAME} keeps rows as {', '.join(self.VECTORS)}, not {code!r}")
        self.R, self.code = as_int(R, "R", 1), code
        super().__init__(d, metric)

    def _new_core(self, metric: str) -> inlay.Index:
        return self.CORE(self.d, metric, degree=self.R, vectors=self.VECTORS[self.code])

    @property
    def factory_string(self) -> str:
        """Such as "SymQG32,Flat" and the like."""
        return f"{self.NAME}{self.R},{self.code}"


class IndexSymQG(_WalkedByCodes):
    """SymphonyQG: a graph whose rows hold codes of their links.

    Parameters
    ----------
    d : int
    R : int
        Links of a row, a multiple of 32.
    metric : int
    code : {"Flat", "SQfp16", "LVQ8", "SQ8", "LVQ8x4", "LVQ8x8"}
        What has the last word: float32 or float16 rows, the codes of 8 bits that the walk has seen (by either
        name), or two levels.
    """

    CORE = inlay.SymphonyQGIndex
    NAME = "SymQG"
    VECTORS: ClassVar[Mapping[str, str]] = {
        "Flat": "float32",
        "SQfp16": "float16",
        "LVQ8": "lvq8",
        "SQ8": "lvq8",
        "LVQ8x4": "lvq8x4",
        "LVQ8x8": "lvq8x8",
    }


class IndexQuIVer(_WalkedByCodes):
    """QuIVer: a graph built and walked in two bits a dimension, with rows for the candidates.

    Parameters
    ----------
    d : int
    R : int
        Links of a row, 2 at least.
    metric : int
    code : {"Flat", "SQfp16", "LVQ8", "SQ8"}
        How rows are kept: as float32, as float16, or in codes of 8 bits (by either name).
    """

    CORE = inlay.QuIVerIndex
    NAME = "QuIVer"
    VECTORS: ClassVar[Mapping[str, str]] = {
        "Flat": "float32",
        "SQfp16": "float16",
        "LVQ8": "lvq8",
        "SQ8": "lvq8",
    }
