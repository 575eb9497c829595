"""Indexes that score every row: exact float32 rows, or codes whose best candidates are scored again."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..arrays import as_count, as_ids
from ..codecs.codec import Codec
from ..codecs.lvq import FORMS, LVQCodec
from ..codecs.plain import PlainCodec
from ..contents import FormatError, Sections, field
from ..ids import Bits
from ..parallel.crew import get_num_threads
from ..scorer import Scorer
from . import scan
from .coded import CodedIndex
from .family import F32, I64, Effort

# Rows from which one query is spread over threads: below, waking them costs more than they save.
SPREAD = 32_768


class ScanIndex(CodedIndex):
    """An index over one codec, whose codes are scanned, and float rows beside them if they are kept."""

    __slots__ = ()

    def _scanner(self, queries: F32, threads: int, effort: dict[str, Any]) -> Scorer:
        """Return the scorer by which rows are scanned."""
        codec, codes = self._parts[0]
        return codec.scorer(queries, codes, threads)

    def _search(self, queries: F32, k: int, allowed: Bits | None, effort: dict[str, Any]) -> tuple[F32, I64]:
        n = self._ids.n_slots
        threads = get_num_threads() if len(queries) > 1 or n >= SPREAD else 1
        candidates = self._candidates(k, effort)
        scanner = self._scanner(queries, threads, effort)
        last: Scorer | None = None
        if candidates:
            exact, rows = self._parts[-1]
            last = scanner if exact is self._parts[0][0] else exact.scorer(queries, rows, threads)
        return scan.search(
            scanner,
            last,
            n,
            k,
            max(k, candidates),
            allowed,
            self._ids.stored,
            self._ids.base,
            threads,
        )

    def _range(self, queries: F32, radii: F32, allowed: Bits | None) -> tuple[I64, F32, I64]:
        n = self._ids.n_slots
        codec, codes = self._parts[-1]
        threads = get_num_threads()
        scorer = codec.scorer(queries, codes, threads)
        return scan.range_search(scorer, n, radii, allowed, self._ids.stored, self._ids.base, threads)

    def _bytes(self, *, cold: bool) -> int:
        total = self._parts[0][1].nbytes(cold=cold)
        if cold:
            total += sum(codes.nbytes(cold=False) for _, codes in self._parts[1:])
        return total

    def _state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        fields, sections = self._parts[0][0].state()
        for _, codes in self._parts:
            sections = {**sections, **codes.sections(self._ids.n_slots)}
        return {"codec": fields}, sections

    def _restore(self, header: Mapping[str, Any], sections: Sections, n: int) -> None:
        self._parts[0][0].restore(field(header, "codec", dict), sections)
        if n and not self.is_trained:
            raise FormatError(f"holds {n} rows but nothing that they were coded with", file=sections.file)
        for _, codes in self._parts:
            codes.restore(sections, n)


class FlatIndex(ScanIndex):
    """Exact search over float32 rows: the reference for every other index.

    Parameters
    ----------
    dim, metric, seed
        See `Index`.

    Notes
    -----
    4 * dim bytes a row. A search reads every row: O(n * dim) a query. Batches share the reading.
    """

    __slots__ = ()

    def __init__(self, dim: int, metric: str = "l2", *, seed: int = 0) -> None:
        super().__init__([PlainCodec(as_count(dim, "dim"), metric == "l2")], dim, metric, seed)

    @property
    def spec(self) -> str:
        """Always "Flat"."""
        return "Flat"

    @classmethod
    def parse(cls, spec: str) -> dict[str, Any] | None:
        """Return no options for "Flat", None for anything else."""
        return {} if spec == "Flat" else None


class LVQIndex(ScanIndex):
    """Locally-adaptive vector quantisation, scanned whole: each row on its own grid of 4 or 8 bits.

    Parameters
    ----------
    dim, metric, seed
        See `Index`.
    bits : {4, 8}
        Of the first level, which every search reads.
    residual_bits : {0, 4, 8}
        Of the second level, which only a search's candidates meet; 0 for none.
    n_means : int, 1 .. 256, or None
        How many means rows are coded about. Many suit data in tight, distinct clusters; None looks at a
        sample when training and takes 64 for such data, else 1. Means are added by themselves when new rows
        drift away from the old.
    rotation : bool or None
        Rotate rows at random first, so that no dimension stands out: the largest single gain at 4 bits where
        some do. None keeps it if it lowers the error of a training sample, or if that is too small to tell.
    vectors : {None, "float32"}
        "float32" keeps the rows themselves too (4 * dim bytes a row, cold) and scores candidates exactly.

    Attributes
    ----------
    rerank : int or None
        Effort: how many candidates of the scan are scored again, at most, with everything the index has. None
        is max(5 k, 50) for 4 bits and max(3 k, 30) for 8; 0 trusts the scan. The nearest come first, and it
        ends early once the error of the scan leaves the others no chance.

    Notes
    -----
    dim * bits / 8 + 9 (+ 4 for "l2") bytes a row are hot, dim * residual_bits / 8 + 4 cold. With a second
    level distances are those to the row that `reconstruct` gives; with one they are unbiased estimates of the
    true ones, as they are without `rerank`.

    References
    ----------
    Aguerrebere et al., Similarity search in the blink of an eye with compressed indices, VLDB 2023.
    """

    __slots__ = ()
    OPTIONS: ClassVar[tuple[str, ...]] = ("bits", "residual_bits", "n_means", "rotation", "vectors")
    EFFORT: ClassVar[tuple[str, ...]] = ("rerank",)
    rerank = Effort("Candidates scored again; None for the default of the bits.")

    def __init__(
        self,
        dim: int,
        metric: str = "l2",
        *,
        bits: int = 4,
        residual_bits: int = 8,
        n_means: int | None = None,
        rotation: bool | None = None,
        vectors: str | None = None,
        seed: int = 0,
    ) -> None:
        if vectors not in (None, "float32"):
            raise ValueError(f'vectors must be None or "float32", not {vectors!r}')
        if not (rotation is None or isinstance(rotation, (bool, np.bool_))):
            raise TypeError(f"rotation must be True, False or None, not {rotation!r}")
        dim, l2 = as_count(dim, "dim"), metric == "l2"
        codecs: list[Codec] = [
            LVQCodec(
                dim,
                l2,
                as_count(bits, "bits"),
                as_count(residual_bits, "residual_bits", 0),
                0 if n_means is None else as_count(n_means, "n_means"),
                as_count(seed, "seed", 0) if rotation is None or rotation else None,
                may_drop_rotation=rotation is None,
            )
        ]
        if vectors is not None:
            codecs.append(PlainCodec(dim, l2))
        super().__init__(codecs, dim, metric, seed)

    @property
    def _codec(self) -> LVQCodec:
        codec = self._parts[0][0]
        assert isinstance(codec, LVQCodec)
        return codec

    @property
    def bits(self) -> int:
        """Bits of the first level."""
        return self._codec.bits

    @property
    def residual_bits(self) -> int:
        """Bits of the second level."""
        return self._codec.residual_bits

    @property
    def n_means(self) -> int | None:
        """How many means training makes or made; None while that is open."""
        return self._codec.n_means or None

    @property
    def rotation(self) -> bool | None:
        """Whether rows are rotated; None while that is open."""
        return None if self._codec.may_drop_rotation else self._codec.rotation_seed is not None

    @property
    def vectors(self) -> str | None:
        """What is kept of the rows themselves: "float32" or None."""
        return "float32" if len(self._parts) > 1 else None

    def steps(self, ids: npt.ArrayLike) -> F32:
        """Return the grid step of each id's first level, float32 (n,): its error is at most half of it.

        The second level's step is this over 2^residual_bits. With `rotation` the bound holds for rotated
        coordinates. Codes of 4 bits without a second level have fitted grids, which may end before a row's
        largest and smallest coordinates: there the bound holds inside the grid, and what lies beyond is off
        by its distance to the grid's end.
        """
        wanted = as_ids(ids)
        with self._lock.shared():
            slots = self._ids.slots(wanted)
            if (slots < 0).any():
                raise KeyError(f"id {wanted[(slots < 0).argmax()]} is not in the index")
            tables = self._parts[0][1].tables
            return np.asarray(tables["steps"].rows[slots] / tables["rhos"].rows[slots], np.float32)

    @property
    def spec(self) -> str:
        """The form: "LVQ8", "LVQ4x8" and the like."""
        form = {value: name for name, value in FORMS.items()}
        return "LVQ" + form[self.bits, self.residual_bits]

    @classmethod
    def parse(cls, spec: str) -> dict[str, Any] | None:
        """Return the bits of a spec such as "LVQ4x8"."""
        if not spec.startswith("LVQ") or spec[3:] not in FORMS:
            return None
        bits, residual_bits = FORMS[spec[3:]]
        return {"bits": bits, "residual_bits": residual_bits}

    def _default_candidates(self, k: int) -> int:
        return max(5 * k, 50) if self.bits == 4 else max(3 * k, 30)
