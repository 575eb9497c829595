"""Inverted lists: rows in lists about centroids, of which a search reads `nprobe`.

The quantizer is an index of the centroids, as in FAISS: filled by training, or taken as it is when it holds
nlist rows. Searches find the nearest lists by codes of the centroids that the core keeps. They read on where
lists hold fewer rows than k, or fewer that a filter allows.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

import inlay
from inlay.indexes.listed import ListedIndex

from .arrays import F32, I64, as_ids, as_int
from .base import Index
from .clustering import ClusteringParameters, centroids_for
from .codes import (
    ProductQuantizer,
    ResidualQuantizer,
    ScalarQuantizer,
    lvq_name,
    of_bits,
    product_quantizer,
    residual_quantizer,
)
from .errors import DimensionError, IndexOperationError, UnknownIdError, operation
from .flat import IndexFlat
from .kind import METRIC_INNER_PRODUCT, METRIC_L2, Values
from .statistics import cvar
from .stored import StoredIndex


class DirectMap:
    """Kinds of tables by which FAISS finds rows by labels; here rows can always be found."""

    NoMap = 0
    Array = 1
    Hashtable = 2


class IndexIVF(StoredIndex):
    """What indexes of inverted lists have in common.

    Attributes
    ----------
    quantizer : Index
        Of the centroids.
    nlist : int
        Lists.
    nprobe : int
        Lists that a search reads; beyond nlist it is nlist.
    max_codes : int
        Rows that a search reads, about; 0 for no limit.
    cp : ClusteringParameters
        How centroids are found.
    """

    SHIFTS = False
    MADE_OF: ClassVar[tuple[str, ...]] = ("d", "nlist", "metric")
    SAVED: ClassVar[tuple[str, ...]] = ("nprobe", "max_codes")
    PARTS: ClassVar[tuple[str, ...]] = ("quantizer",)
    EFFORT: ClassVar[Mapping[str, str]] = {"nprobe": "nprobe", "max_codes": "max_codes"}

    quantizer: Index
    nlist: int
    nprobe: int | None = 1
    max_codes: int = 0
    cp: ClusteringParameters

    def __init__(self, quantizer: Index, d: int, nlist: int, metric: int = METRIC_L2) -> None:
        self.nlist = as_int(nlist, "nlist", 1)
        self.cp = ClusteringParameters()
        self.cp.niter, self.cp.spherical = 10, metric == METRIC_INNER_PRODUCT
        if not isinstance(quantizer, Index):
            raise TypeError(f"quantizer must be an index, not {type(quantizer).__name__}")
        if quantizer.d != as_int(d, "d", 1):
            raise DimensionError(f"quantizer has d = {quantizer.d}, the index {d}")
        self.quantizer = quantizer
        self._by_residual: bool | None = None
        super().__init__(d, metric)

    @property
    def by_residual(self) -> bool:
        """Whether codes are of what centroids leave of rows; may be set before training.

        By default they are where that gains something: not for float32 rows, nor for codes of 8 bits a
        dimension.
        """
        return isinstance(self._core, inlay.IVFIndex) and self._core.by_residual

    @by_residual.setter
    def by_residual(self, value: bool) -> None:
        if self.is_trained:
            raise IndexOperationError("by_residual is said before training")
        if isinstance(self._core, inlay.IVFIndex) and self._code != "Flat":
            self._by_residual = bool(value)
            self._core = self._new_core(self._core.metric)

    @property
    def _code(self) -> str:
        """What the core calls the code of rows."""
        raise IndexOperationError(f"{type(self).__name__} says nothing of codes; see IndexIVFFlat")

    @property
    def _code_string(self) -> str:
        """What `index_factory` calls the code of rows."""
        return self._code

    def _new_core(self, metric: str) -> inlay.Index:
        return inlay.IVFIndex(
            self.d, metric, n_lists=self.nlist, code=self._code, by_residual=self._by_residual
        )

    def parts(self) -> Sequence[Index]:
        """Return nothing: parameters of the quantizer begin with "quantizer_"."""
        return ()

    @property
    def factory_string(self) -> str:
        """Such as "IVF1024,Flat" and the like."""
        graph = self.quantizer.factory_string.removesuffix(",Flat") if self._has_graph else ""
        return f"IVF{self.nlist}{'_' + graph if graph else ''},{self._code_string}"

    @property
    def _has_graph(self) -> bool:
        return self.quantizer.factory_string.startswith("HNSW")

    def _learn(self, x: F32) -> None:
        assert isinstance(self._core, ListedIndex)
        if self.quantizer.ntotal not in (0, self.nlist):
            raise IndexOperationError(
                f"quantizer holds {self.quantizer.ntotal} rows; {self.nlist} would be the centroids, 0 lets "
                "training find them"
            )
        given = self.quantizer.ntotal > 0
        centroids = self.quantizer.reconstruct_n() if given else centroids_for(self, self.nlist, self.cp, x)
        with operation():
            self._core.train(self._enough(x), centres=centroids, progress=self.verbose)
        if not given:
            self._fill_quantizer(centroids)

    def _fill_quantizer(self, centroids: F32) -> None:
        if not self.quantizer.is_trained:
            self.quantizer.train(centroids)
        self.quantizer.add(centroids)

    def _find(self, x: F32, k: int, allowed: I64 | None, effort: Mapping[str, Any]) -> Values:
        nprobe = self._efforts(k, effort)["nprobe"]
        cvar.indexIVF_stats.count(len(x), nprobe or max(1, self.nlist // 8), self.ntotal / self.nlist)
        return super()._find(x, k, allowed, effort)

    def _efforts(self, k: int, effort: Mapping[str, Any]) -> dict[str, Any]:
        nprobe = effort.get("nprobe", self.nprobe)
        if nprobe is None:
            return {"nprobe": None}
        nprobe = min(as_int(nprobe, "nprobe"), self.nlist)
        if nprobe < 1:
            raise IndexOperationError(f"nprobe must be at least 1, not {nprobe}")
        most = as_int(effort.get("max_codes", self.max_codes), "max_codes", 0)
        if most:
            nprobe = max(1, min(nprobe, math.ceil(most * self.nlist / max(self.ntotal, 1))))
        return {"nprobe": nprobe}

    def make_direct_map(self, new_maintain_direct_map: bool = True) -> None:
        """Do nothing: rows can always be found by their labels."""

    def set_direct_map_type(self, type: int) -> None:
        """Do nothing: rows can always be found by their labels."""

    def update_vectors(self, keys: npt.ArrayLike, x: npt.ArrayLike) -> None:
        """Give other vectors (n, d) to rows that are there, by their labels."""
        labels = as_ids(keys, name="keys")
        there = self.contains(labels)
        if not there.all():
            raise UnknownIdError(f"id {labels[there.argmin()]} is not in the index")
        self.upsert(x, labels)

    def copy_subset_to(self, other: "IndexIVF", subset_type: int, a1: int, a2: int) -> None:
        """Add some of the rows to another index, under their labels.

        Parameters
        ----------
        other : IndexIVF
        subset_type : {0, 1, 2}
            Those whose label lies in a1 .. a2 (0), or leaves a2 when divided by a1 (1); or the rows a1 .. a2
            in the order in which they were added (2).
        a1, a2 : int
        """
        labels = self.ids
        if subset_type == 0:
            chosen = labels[(labels >= a1) & (labels < a2)]
        elif subset_type == 1:
            chosen = labels[labels % as_int(a1, "a1", 1) == a2]
        elif subset_type == 2:
            chosen = labels[as_int(a1, "a1", 0) : as_int(a2, "a2", 0)]
        else:
            raise IndexOperationError(
                f"subset_type must be 0, 1 or 2, not {subset_type}: see its description"
            )
        other.add_with_ids(self.reconstruct_batch(chosen), chosen)


class IndexIVFFlat(IndexIVF):
    """Inverted lists of float32 rows.

    Parameters
    ----------
    quantizer : Index
        Of the centroids; filled by `train`. Over one that holds nlist of them, the index is trained.
    d, nlist : int
        Dimensions and lists.
    metric : int
    """

    @property
    def is_trained(self) -> bool:
        """Whether it takes rows."""
        return super().is_trained or self.quantizer.ntotal == self.nlist

    def _append(self, x: F32, labels: I64 | None) -> I64:
        if not self._core.is_trained:
            self._learn(np.zeros((1, self.d), np.float32))  # there are centroids, and nothing else to learn
        return super()._append(x, labels)

    @property
    def _code(self) -> str:
        return "Flat"


class IndexIVFScalarQuantizer(IndexIVF):
    """Inverted lists of a scalar quantiser's codes.

    Parameters
    ----------
    quantizer, d, nlist
        See `IndexIVFFlat`.
    qtype : int
        See `IndexScalarQuantizer`.
    metric : int
    by_residual : bool
        False codes rows as they are; True leaves it to what gains something.
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d", "nlist", "qtype", "metric", "by_residual")

    sq: ScalarQuantizer

    def __init__(
        self,
        quantizer: Index,
        d: int,
        nlist: int,
        qtype: int = ScalarQuantizer.QT_8bit,
        metric: int = METRIC_L2,
        by_residual: bool = True,
    ) -> None:
        self.sq = ScalarQuantizer(d, qtype)
        super().__init__(quantizer, d, nlist, metric)
        if not by_residual:
            self.by_residual = False

    @property
    def qtype(self) -> int:
        """The kind of quantiser."""
        return self.sq.qtype

    @property
    def _code(self) -> str:
        return self.sq.code

    @property
    def _code_string(self) -> str:
        return self.sq.name


class IndexIVFLVQ(IndexIVF):
    """Inverted lists of LVQ codes.

    Parameters
    ----------
    quantizer, d, nlist
        See `IndexIVFFlat`.
    bits : {4, 8}
        Of the first level.
    residual_bits : {0, 4, 8}
        Of the second, which only candidates meet.
    metric : int
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d", "nlist", "bits", "residual_bits", "metric")

    bits: int
    residual_bits: int

    def __init__(
        self,
        quantizer: Index,
        d: int,
        nlist: int,
        bits: int = 8,
        residual_bits: int = 0,
        metric: int = METRIC_L2,
    ) -> None:
        self.bits, self.residual_bits = of_bits(bits), as_int(residual_bits, "residual_bits", 0)
        super().__init__(quantizer, d, nlist, metric)

    @property
    def _code(self) -> str:
        return lvq_name(self.bits, self.residual_bits)


class _IVFStages(IndexIVF):
    """Inverted lists of codes in stages."""

    MADE_OF: ClassVar[tuple[str, ...]] = ("d", "nlist", "M", "nbits", "metric")

    M: int
    nbits: int

    def __init__(self, quantizer: Index, d: int, nlist: int, M: int, nbits: int, metric: int) -> None:
        self.M, self.nbits = as_int(M, "M", 1), of_bits(nbits)
        super().__init__(quantizer, d, nlist, metric)
        self.fewest_rows = 1 << self.nbits


class IndexIVFPQ(_IVFStages):
    """Inverted lists of product quantisation.

    Parameters
    ----------
    quantizer, d, nlist
        See `IndexIVFFlat`.
    M : int
        Groups of dimensions.
    nbits : {4, 8}
        Of a group's code.
    metric : int
    """

    def __init__(
        self,
        quantizer: Index,
        d: int,
        nlist: int,
        M: int,
        nbits: int = 8,
        metric: int = METRIC_L2,
    ) -> None:
        super().__init__(quantizer, d, nlist, M, nbits, metric)

    @property
    def _code(self) -> str:
        return f"PQ{self.M}" + ("x4fs" if self.nbits == 4 else "")

    @property
    def pq(self) -> ProductQuantizer:
        """The quantiser of what centroids leave of rows."""
        return product_quantizer(self._core)


class IndexIVFPQFastScan(IndexIVFPQ):
    """Inverted lists of product quantisation of 4 bits, whose tables fit registers.

    Parameters
    ----------
    quantizer, d, nlist, M, nbits, metric
        See `IndexIVFPQ`.
    bbs : int
        Accepted: rows always lie in blocks of 64.
    """

    MADE_OF: ClassVar[tuple[str, ...]] = (*IndexIVFPQ.MADE_OF, "bbs")

    bbs: int

    def __init__(
        self,
        quantizer: Index,
        d: int,
        nlist: int,
        M: int,
        nbits: int = 4,
        metric: int = METRIC_L2,
        bbs: int = 32,
    ) -> None:
        super().__init__(quantizer, d, nlist, M, nbits, metric)
        self.bbs = as_int(bbs, "bbs", 0)


class IndexIVFRVQ(_IVFStages):
    """Inverted lists of residual quantisation.

    Parameters
    ----------
    quantizer, d, nlist
        See `IndexIVFFlat`.
    M : int
        Codes a row.
    nbits : {4, 8}
        Of a code.
    metric : int
    """

    def __init__(
        self,
        quantizer: Index,
        d: int,
        nlist: int,
        M: int = 8,
        nbits: int = 8,
        metric: int = METRIC_L2,
    ) -> None:
        super().__init__(quantizer, d, nlist, M, nbits, metric)

    @property
    def _code(self) -> str:
        return f"RVQ{self.M}x{self.nbits}"

    @property
    def rq(self) -> ResidualQuantizer:
        """The quantiser of what centroids leave of rows."""
        return residual_quantizer(self._core)


IndexIVFResidualQuantizer = IndexIVFRVQ


class IndexLoRANN(IndexIVF):
    """Clusters, each scored by a linear model of low rank.

    Parameters
    ----------
    quantizer : Index or None
        Where `train` puts centroids of the rows, as for `IndexIVFFlat`; the clusters themselves lie among
        projections of rows, and need none. None is an empty `IndexFlat`.
    d, nlist : int
        Dimensions and clusters.
    rank : int
        Coefficients a row.
    bits : {4, 8}
        Of a coefficient.
    metric : int

    Attributes
    ----------
    nprobe : int or None
        Clusters that a search looks into; None is the core's default, an eighth of them.
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d", "nlist", "rank", "bits", "metric")

    rank: int
    bits: int
    nprobe: int | None = None

    def __init__(
        self,
        quantizer: Index | None,
        d: int,
        nlist: int,
        rank: int = 32,
        bits: int = 8,
        metric: int = METRIC_L2,
    ) -> None:
        self.rank, self.bits, self._fills = as_int(rank, "rank", 1), of_bits(bits), quantizer is not None
        super().__init__(IndexFlat(d, metric) if quantizer is None else quantizer, d, nlist, metric)

    def _new_core(self, metric: str) -> inlay.Index:
        return inlay.LoRANNIndex(self.d, metric, n_clusters=self.nlist, rank=self.rank, bits=self.bits)

    def _learn(self, x: F32) -> None:
        with operation():
            self._core.train(x, progress=self.verbose)
        if self._fills and not self.quantizer.ntotal:
            self._fill_quantizer(centroids_for(self, self.nlist, self.cp, x))

    @property
    def _code_string(self) -> str:
        return f"LoRANN{self.rank}x{self.bits}"
