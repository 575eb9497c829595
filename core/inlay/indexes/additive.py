"""Indexes of codes in stages, scanned whole by table look-ups: product and residual vector quantisation."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..arrays import as_count
from ..codecs.additive import AdditiveCodec
from ..codecs.codec import Codec
from ..codecs.lvq import LVQCodec
from ..codecs.plain import PlainCodec
from ..codecs.pq import PQCodec
from ..codecs.rvq import BEAM, RVQCodec
from ..contents import Sections
from ..scorer import Scorer
from .exhaustive import ScanIndex
from .family import F32, Effort

# What has the last word: nothing but the codes, codes of 8 bits a dimension, or rows.
VECTORS = (None, "lvq8", "float16", "float32")
# Directions beyond which so few bits cannot code anything.
DIRECTIONS = 256


def codecs_of_vectors(vectors: str | None, dim: int, squared_l2: bool) -> list[Codec]:
    """Return the codec of what is kept of rows beside their codes, or none."""
    if vectors not in VECTORS:
        raise ValueError(f"vectors must be None, {', '.join(map(repr, VECTORS[1:]))}, not {vectors!r}")
    if vectors is None:
        return []
    if vectors == "lvq8":
        return [LVQCodec(dim, squared_l2, 8, 0, 1, None, layout="rows")]
    return [PlainCodec(dim, squared_l2, vectors)]


class AdditiveIndex(ScanIndex):
    """What `PQIndex` and `RVQIndex` have in common: an index over codes in stages, and perhaps over rows."""

    __slots__ = ("_vectors",)
    EFFORT: ClassVar[tuple[str, ...]] = ("rerank",)
    rerank = Effort("Candidates scored again; None for the default.")

    def __init__(self, codec: AdditiveCodec, dim: int, metric: str, vectors: str | None, seed: int) -> None:
        super().__init__([codec, *codecs_of_vectors(vectors, dim, metric == "l2")], dim, metric, seed)
        self._vectors = vectors

    @property
    def _codec(self) -> AdditiveCodec:
        codec = self._parts[0][0]
        assert isinstance(codec, AdditiveCodec)
        return codec

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return self._codec.bits

    @property
    def vectors(self) -> str | None:
        """What is kept of the rows beside their codes."""
        return self._vectors

    @property
    def distortion(self) -> npt.NDArray[np.float64] | None:
        """What share of their energy rows lose by code, float64 (stages,); None before training.

        Entry m is what the first m + 1 stages leave of the energy about the mean, of rows that took no part
        in training where there were any.
        """
        return None if self._codec.distortion is None else np.array(self._codec.distortion)

    @property
    def bound(self) -> npt.NDArray[np.float64] | None:
        """What share of their energy any code of as many bits must lose, float64 (stages,).

        Of rows that are normally distributed, with the variances of the rows `distortion` was measured on.
        Rows that fall into clusters lose less, and no training makes up for bits that are missing.
        """
        return None if self._codec.bounds is None else np.array(self._codec.bounds)

    def _default_candidates(self, k: int) -> int:
        return max(10 * k, 100) if self._vectors else max(2 * k, 16)

    def _bytes(self, *, cold: bool) -> int:
        return super()._bytes(cold=cold) + (0 if cold else self._codec.nbytes)

    def _state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        return self._parts_state()

    def _restore(self, header: Mapping[str, Any], sections: Sections, n: int) -> None:
        self._restore_parts(header, sections, n)


class PQIndex(AdditiveIndex):
    """Product quantisation, scanned whole: a code of 4 or 8 bits for each of several groups of dimensions.

    Parameters
    ----------
    dim, metric, seed
        See `Index`.
    subspaces : int, >= 1, or None
        How many groups of dimensions, as equal as can be; None makes a bit of code a dimension.
    bits : {4, 8}
        Of a group's code. 4 bits train in a sixteenth of the rows; at equal bytes 8 find more.
    rotation : {None, "opq"}
        Rotate rows first, as optimised product quantisation does, so that groups share what there is to be
        coded. Takes longer to train, and d^2 multiplications a row and query.
    vectors : {None, "lvq8", "float16", "float32"}
        What is kept of the rows beside their codes, cold, to score candidates again.

    Attributes
    ----------
    rerank : int or None
        Effort: how many candidates of the scan are scored again with everything the index has. None is
        max(10 k, 100) with `vectors`, else max(2 k, 16); 0 trusts the scan, whose tables are bytes.

    Notes
    -----
    subspaces * bits / 8 bytes a row. Training takes 2^bits rows at least, better 256 times as many. Without
    `vectors` distances are those to the row that `reconstruct` gives.

    References
    ----------
    Jegou, Douze and Schmid, Product quantization for nearest neighbor search, TPAMI 2011. Andre, Kermarrec
    and Le Scouarnec, Cache locality is not enough: high-performance nearest neighbor search with product
    quantization fast scan, VLDB 2015.
    """

    __slots__ = ()
    OPTIONS: ClassVar[tuple[str, ...]] = ("subspaces", "bits", "rotation", "vectors")

    def __init__(
        self,
        dim: int,
        metric: str = "l2",
        *,
        subspaces: int | None = None,
        bits: int = 8,
        rotation: str | None = None,
        vectors: str | None = None,
        seed: int = 0,
    ) -> None:
        dim, bits = as_count(dim, "dim"), as_count(bits, "bits")
        if subspaces is None:
            subspaces = max(1, dim // bits)
        codec = PQCodec(dim, metric == "l2", as_count(subspaces, "subspaces"), bits, rotation)
        super().__init__(codec, dim, metric, vectors, seed)

    @property
    def subspaces(self) -> int:
        """How many groups of dimensions there are."""
        return self._codec.stages

    @property
    def rotation(self) -> str | None:
        """How rows are rotated: "opq" or None."""
        codec = self._codec
        assert isinstance(codec, PQCodec)
        return codec.rotation

    @property
    def spec(self) -> str:
        """The number of groups, and for 4 bits how they are scanned: "PQ16", "PQ16x4fs"."""
        return f"PQ{self.subspaces}" + ("x4fs" if self.bits == 4 else "")

    @classmethod
    def parse(cls, spec: str) -> dict[str, Any] | None:
        """Return subspaces and bits of a spec such as "PQ16", "PQ16x8", "PQ16x4" or "PQ16x4fs"."""
        found = re.fullmatch(r"PQ([1-9]\d{0,5})(?:x(8|4|4fs))?", spec)
        if found is None:
            return None
        return {"subspaces": int(found[1]), "bits": 4 if (found[2] or "8")[0] == "4" else 8}


class RVQIndex(AdditiveIndex):
    """Residual vector quantisation, scanned whole: each code of 4 or 8 bits says what those before it left.

    At equal bytes a row's code is nearer to it than that of product quantisation, where dimensions have to do
    with each other; adding takes longer.

    Parameters
    ----------
    dim, metric, seed
        See `Index`.
    stages : int
        How many codes a row has.
    bits : {4, 8}
        Of a code. 4 bits train in a sixteenth of the rows; at equal bytes 8 find more.
    beam : int, 1 .. 64
        How many partial codes are kept when a row is coded. More leave less error in more time.
    directions : int or None
        Code only so many principal directions of the rows; None is 256, or all where there are fewer.
    mode : {"plain", "progressive"}
        How codewords are trained: by k-means, or by k-means in directions that grow in number, which leaves a
        twentieth to a tenth less error of rows that were not trained on, in twice the time.
    vectors : {None, "lvq8", "float16", "float32"}
        What is kept of the rows beside their codes, cold, to score candidates again.

    Attributes
    ----------
    rerank : int or None
        Effort: how many candidates of the scan are scored again with everything the index has. None is
        max(10 k, 100) with `vectors`, else max(2 k, 16); 0 trusts the scan, whose tables are bytes.
    prefix : int or None
        Effort: scan only so many stages, which are a coarser code by themselves; candidates are scored by
        all, and should be more. None and 0 scan all.

    Notes
    -----
    stages * bits / 8 bytes a row, and one more for "l2". Training takes 2^bits rows at least, better 256
    times as many. Without `vectors` distances are those to the row that `reconstruct` gives.

    References
    ----------
    Chen, Guan and Wang, Approximate nearest neighbor search by residual vector quantization, Sensors 2010;
    Babenko and Lempitsky, Additive quantization for extreme vector compression, CVPR 2014; Liu et al.,
    Improved residual vector quantization for high-dimensional approximate nearest neighbor search, 2015.
    """

    __slots__ = ("_prefix",)
    _prefix: int | None
    EFFORT: ClassVar[tuple[str, ...]] = ("rerank", "prefix")
    prefix = Effort("Stages that are scanned; None for all.")
    OPTIONS: ClassVar[tuple[str, ...]] = ("stages", "bits", "beam", "directions", "mode", "vectors")

    def __init__(
        self,
        dim: int,
        metric: str = "l2",
        *,
        stages: int = 8,
        bits: int = 8,
        beam: int = BEAM,
        directions: int | None = None,
        mode: str = "progressive",
        vectors: str | None = None,
        seed: int = 0,
    ) -> None:
        dim = as_count(dim, "dim")
        codec = RVQCodec(
            dim,
            metric == "l2",
            as_count(stages, "stages"),
            as_count(bits, "bits"),
            as_count(beam, "beam"),
            min(dim, DIRECTIONS) if directions is None else as_count(directions, "directions"),
            mode,
        )
        super().__init__(codec, dim, metric, vectors, seed)

    @property
    def _codec(self) -> RVQCodec:
        codec = self._parts[0][0]
        assert isinstance(codec, RVQCodec)
        return codec

    @property
    def stages(self) -> int:
        """How many codes a row has."""
        return self._codec.stages

    @property
    def beam(self) -> int:
        """How many partial codes are kept when a row is coded."""
        return self._codec.beam

    @property
    def directions(self) -> int:
        """How many principal directions are coded; all of them are the dimensions as they are."""
        return self._codec.directions

    @property
    def mode(self) -> str:
        """How codewords are trained."""
        return self._codec.mode

    def _scanner(self, queries: F32, threads: int, effort: dict[str, Any]) -> Scorer:
        prefix = effort.get("prefix", self._prefix)
        stages = min(int(prefix), self.stages) if prefix else None
        return self._codec.scorer(queries, self._parts[0][1], threads, stages)

    @property
    def spec(self) -> str:
        """Stages and bits: "RVQ8x8", "RVQ16x4"."""
        return f"RVQ{self.stages}x{self.bits}"

    @classmethod
    def parse(cls, spec: str) -> dict[str, Any] | None:
        """Return stages and bits of a spec such as "RVQ8x8"."""
        found = re.fullmatch(r"RVQ([1-9]\d{0,5})x(4|8)", spec)
        return None if found is None else {"stages": int(found[1]), "bits": int(found[2])}
