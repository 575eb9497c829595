"""Indexes of codes that every search reads whole: scalar, LVQ, product and residual quantisation."""

from collections.abc import Mapping
from typing import Any, ClassVar

import inlay

from .arrays import F32, as_int
from .codes import (
    ProductQuantizer,
    ResidualQuantizer,
    ScalarQuantizer,
    lvq_name,
    of_bits,
    product_quantizer,
    residual_quantizer,
)
from .kind import METRIC_L2
from .stored import StoredIndex


class CodesIndex(StoredIndex):
    """What indexes of codes have in common.

    Attributes
    ----------
    rerank : int or None
        Candidates of a scan that are scored again with all that is known; None is the core's default.
    """

    SAVED: ClassVar[tuple[str, ...]] = ("rerank",)

    rerank: int | None = None

    def _efforts(self, k: int, effort: Mapping[str, Any]) -> dict[str, Any]:
        return {"rerank": self.rerank}

    @property
    def factory_string(self) -> str:
        """What `index_factory` takes for it."""
        return self._core.spec


class IndexLVQ(CodesIndex):
    """Locally-adaptive vector quantisation.

    Parameters
    ----------
    d : int
    bits : {4, 8}
        Of the first level.
    residual_bits : {0, 4, 8}
        Of the second, which only candidates meet.
    metric : int
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d", "bits", "residual_bits", "metric")

    bits: int
    residual_bits: int

    def __init__(self, d: int, bits: int = 8, residual_bits: int = 0, metric: int = METRIC_L2) -> None:
        self.bits, self.residual_bits = of_bits(bits), as_int(residual_bits, "residual_bits", 0)
        super().__init__(d, metric)

    def _new_core(self, metric: str) -> inlay.Index:
        return inlay.from_spec(lvq_name(self.bits, self.residual_bits), self.d, metric)


class IndexScalarQuantizer(CodesIndex):
    """A scalar quantiser, on grids that are each row's own (`IndexLVQ`).

    Parameters
    ----------
    d : int
    qtype : int
        One of `ScalarQuantizer`. `QT_fp16`, `QT_bf16`, `QT_8bit_direct` and `QT_8bit_direct_signed` need no
        training; an index without rows gains by it.
    metric : int
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d", "qtype", "metric")

    sq: ScalarQuantizer

    def __init__(self, d: int, qtype: int = ScalarQuantizer.QT_8bit, metric: int = METRIC_L2) -> None:
        self.sq = ScalarQuantizer(d, qtype)
        super().__init__(d, metric)
        self.sq.prepare(self._core)

    def _learn(self, x: F32) -> None:
        if self.sq.learns or not self.ntotal:
            super()._learn(x)

    @property
    def qtype(self) -> int:
        """The kind of quantiser."""
        return self.sq.qtype

    def _new_core(self, metric: str) -> inlay.Index:
        return inlay.from_spec(self.sq.code, self.d, metric)

    @property
    def factory_string(self) -> str:
        """Such as "SQ8" and the like."""
        return self.sq.name


class IndexPQ(CodesIndex):
    """Product quantisation.

    Parameters
    ----------
    d : int
    M : int
        Groups of dimensions, as equal as can be.
    nbits : {4, 8}
        Of a group's code.
    metric : int
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d", "M", "nbits", "metric")

    M: int
    nbits: int

    def __init__(self, d: int, M: int, nbits: int = 8, metric: int = METRIC_L2) -> None:
        self.M, self.nbits = as_int(M, "M", 1), of_bits(nbits)
        super().__init__(d, metric)
        self.fewest_rows = 1 << self.nbits

    def _new_core(self, metric: str) -> inlay.Index:
        return inlay.PQIndex(self.d, metric, subspaces=self.M, bits=self.nbits)

    @property
    def pq(self) -> ProductQuantizer:
        """The quantiser."""
        return product_quantizer(self._core)


class IndexPQFastScan(IndexPQ):
    """Product quantisation of 4 bits, whose tables fit registers.

    Parameters
    ----------
    d, M, nbits, metric
        See `IndexPQ`.
    bbs : int
        Accepted: rows always lie in blocks of 64.
    """

    MADE_OF: ClassVar[tuple[str, ...]] = (*IndexPQ.MADE_OF, "bbs")

    bbs: int

    def __init__(self, d: int, M: int, nbits: int = 4, metric: int = METRIC_L2, bbs: int = 32) -> None:
        super().__init__(d, M, nbits, metric)
        self.bbs = as_int(bbs, "bbs", 0)


class IndexRVQ(CodesIndex):
    """Residual vector quantisation: each code says what those before it left.

    Parameters
    ----------
    d : int
    M : int
        Codes a row.
    nbits : {4, 8}
        Of a code.
    metric : int
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d", "M", "nbits", "metric")

    M: int
    nbits: int

    def __init__(self, d: int, M: int = 8, nbits: int = 8, metric: int = METRIC_L2) -> None:
        self.M, self.nbits = as_int(M, "M", 1), of_bits(nbits)
        super().__init__(d, metric)
        self.fewest_rows = 1 << self.nbits

    def _new_core(self, metric: str) -> inlay.Index:
        return inlay.RVQIndex(self.d, metric, stages=self.M, bits=self.nbits)

    @property
    def rq(self) -> ResidualQuantizer:
        """The quantiser."""
        return residual_quantizer(self._core)


IndexResidualQuantizer = IndexRVQ
