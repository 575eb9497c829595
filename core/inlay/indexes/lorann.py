"""LoRANN: rows in clusters, each scored by a small linear model of its own."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..arrays import as_count, as_rows
from ..codecs.codec import Codec
from ..codecs.lorann_lists import LorannLists
from ..codecs.lvq import FORMS, LVQCodec
from ..codecs.plain import PlainCodec
from ..contents import FormatError, Sections, field
from ..ids import Bits
from ..parallel.crew import get_num_threads
from ..progress import Progress
from . import probing, scan
from .candidates import Placed
from .coded import CodedIndex
from .family import CHUNK, F32, I64, Effort
from .listed import Look, Probe, read_lists

# How rows themselves are kept: bits of the levels, or a type.
VECTORS: Mapping[str, tuple[int, int] | str] = {
    **{f"lvq{form}": bits for form, bits in FORMS.items() if form != "4"},
    "float16": "float16",
    "float32": "float32",
}
# Clusters that a search looks into by itself, at least.
FEWEST = 8
# Clusters that an index has by itself, for n rows: so many times the square root of n.
CLUSTERS = 1.6
# Candidates for each result that the first level of rows' codes leaves for the last word.
SCREENED = 3
# Allowed rows that are scored one by one, at most, instead of being looked for in clusters.
DIRECT = 1_000


class LoRANNIndex(CodedIndex):
    """Clusters whose scores come from a low-rank regression, and rows for the last word.

    Parameters
    ----------
    dim, metric, seed
        See `Index`.
    n_clusters : int or None
        None is about 1.6 times the square root of the number of rows that training is given.
    rank : int
        Coefficients of a row: how well a cluster's model knows its rows.
    bits : {4, 8}
        Of a coefficient, and of the numbers of a model.
    projection : int or None
        Coordinates that models work in, dim at most. None: all up to 192, then half of them up to 256.
    vectors : {"lvq8", "lvq4x4", "lvq4x8", "lvq8x8", "float16", "float32"}
        How the rows themselves are kept, for the last word and for `reconstruct`. With "float32" the
        distances that a search returns are exact.

    Attributes
    ----------
    nprobe : int or None
        Effort: how many clusters a search looks into, and more where these hold fewer rows than it is asked
        for. None is an eighth of them, and 8 at least.
    rerank : int or None
        Effort: how many candidates are scored again, at most, with the rows themselves. None is
        max(40 k, 400); 0 trusts the models. The nearest come first, and it ends where the error of the
        scores so far leaves the others no chance.

    Notes
    -----
    A search costs dim * s for the projection to s coordinates, n_clusters * s for the choice of clusters, and
    s * rank + m * rank for each cluster of m rows. A row costs rank * bits / 8 + 12 bytes (16 for "l2")
    beside its vector; a cluster s * rank * bits / 8 + 8 s.

    References
    ----------
    Jaasaari, Hyvonen and Roos, LoRANN: Low-rank matrix factorization for approximate nearest neighbor
    search, NeurIPS 2024; codecs/lorann_fit.py says what differs.
    """

    __slots__ = (
        "_clusters",
        "_code_bits",
        "_n_clusters",
        "_nprobe",
        "_projection",
        "_rank",
        "_vectors",
    )
    OPTIONS: ClassVar[tuple[str, ...]] = ("n_clusters", "rank", "bits", "projection", "vectors")
    _nprobe: int | None
    EFFORT: ClassVar[tuple[str, ...]] = ("nprobe", "rerank")
    nprobe = Effort("How many clusters a search looks into; None for the default.")
    rerank = Effort("How many candidates are scored again; None for the default.")
    LONG: ClassVar[int] = 1 << 28

    def __init__(
        self,
        dim: int,
        metric: str = "l2",
        *,
        n_clusters: int | None = None,
        rank: int = 32,
        bits: int = 4,
        projection: int | None = None,
        vectors: str = "lvq8",
        seed: int = 0,
    ) -> None:
        dim, l2, seed = as_count(dim, "dim"), metric == "l2", as_count(seed, "seed", 0)
        if bits not in (4, 8):
            raise ValueError(f"bits must be 4 or 8, not {bits!r}")
        if vectors not in VECTORS:
            raise ValueError(f"vectors must be one of {', '.join(VECTORS)}, not {vectors!r}")
        kept = VECTORS[vectors]
        codec: Codec
        if isinstance(kept, str):
            codec = PlainCodec(dim, l2, kept)
        else:
            codec = LVQCodec(dim, l2, *kept, 1, seed, may_drop_rotation=True, layout="rows")
        super().__init__([codec], dim, metric, seed)
        self._n_clusters = None if n_clusters is None else as_count(n_clusters, "n_clusters")
        self._projection = None if projection is None else as_count(projection, "projection")
        if self._projection is not None and self._projection > dim:
            raise ValueError(f"projection must be at most dim, {dim}, not {projection}")
        self._rank, self._code_bits, self._vectors = as_count(rank, "rank"), bits, vectors
        self._clusters: LorannLists | None = None

    # What it is

    @property
    def n_clusters(self) -> int | None:
        """How many clusters there are, or will be; None while that is left to training."""
        return self._n_clusters

    @property
    def rank(self) -> int:
        """Coefficients of a row."""
        return self._rank

    @property
    def bits(self) -> int:
        """Bits of a coefficient."""
        return self._code_bits

    @property
    def projection(self) -> int | None:
        """Coordinates that models work in; None while that is left to training."""
        return self._projection

    @property
    def vectors(self) -> str:
        """How the rows themselves are kept."""
        return self._vectors

    @property
    def is_trained(self) -> bool:
        """Whether there are clusters, and rows can be coded."""
        return self._clusters is not None and super().is_trained

    @property
    def spec(self) -> str:
        """The number of clusters: "LoRANN1024"; "LoRANN" while it is open."""
        return f"LoRANN{self._n_clusters or ''}"

    @classmethod
    def parse(cls, spec: str) -> dict[str, Any] | None:
        """Return the options that a spec such as "LoRANN1024" stands for."""
        parts = re.fullmatch(r"LoRANN([1-9]\d{0,8})?", spec)
        return None if parts is None else {"n_clusters": int(parts[1]) if parts[1] else None}

    # Changing it

    def train(
        self, rows: npt.ArrayLike, *, queries: npt.ArrayLike | None = None, progress: Progress = None
    ) -> None:
        """Find the projection and the clusters.

        Parameters
        ----------
        rows : array_like, (n, dim)
        queries : array_like, (n_queries, dim), optional
            Queries as they will be asked, if these are unlike the rows: what they do not ask for then takes
            no part of a model. Ten thousand or more; they are kept, projected, for later rows (cold).
        progress : bool, callable or None
            As for `Index.train`.

        Raises
        ------
        ValueError
            For bad rows or queries, or when the index already holds rows.
        """
        asked = None if queries is None else self._prepared(as_rows(queries, self.dim, "queries"))
        if asked is not None and not len(asked):
            raise ValueError("there are no queries among the queries to train with")
        sample = self._prepared(as_rows(rows, self.dim))
        with self._lock.exclusive():
            if len(self):
                raise ValueError("the index holds rows already, coded with what it learned; reset() it first")
            self._learn(sample, asked, progress)

    def refit(self) -> int:
        """Fit the models of all clusters again to which rows came since; return how many there were.

        An index does it by itself for each cluster to which 0.3 times as many rows came as its model was
        fitted to. Some milliseconds a cluster; the rows are those that `reconstruct` gives.
        """
        with self._lock.exclusive():
            return 0 if self._clusters is None else self._clusters.refit(self._decode)

    def _train(self, rows: F32, progress: Progress) -> None:
        self._learn(rows, None, progress)

    def _learn(self, rows: F32, queries: F32 | None, progress: Progress) -> None:
        if not len(rows):
            raise ValueError("there are no rows to train with")
        n_clusters = self._n_clusters or max(1, round(CLUSTERS * len(rows) ** 0.5))
        size = self._projection or coordinates_of(self.dim)
        clusters = self._new_clusters(n_clusters, size)
        clusters.train(rows, queries, progress)
        super()._train(rows, progress)
        self._n_clusters, self._projection, self._clusters = n_clusters, size, clusters

    def _new_clusters(self, n_clusters: int, size: int) -> LorannLists:
        return LorannLists(
            self.dim, self.metric == "l2", n_clusters, size, self._rank, self._code_bits, self.seed
        )

    def _learned(self) -> Any:
        return self._n_clusters, self._projection, self._clusters, super()._learned()

    def _unlearn(self, learned: Any) -> None:
        self._n_clusters, self._projection, self._clusters, codecs = learned
        super()._unlearn(codecs)

    def _store(self, rows: F32, step: Callable[[int], None]) -> None:
        # Half of the work is coding rows, the other half fitting models to them.
        prepared, told = self._prepared(rows), 0
        for first in range(0, len(rows), CHUNK):
            chunk = prepared[first : first + CHUNK]
            super()._append(chunk)
            if half := len(chunk) // 2:
                step(half)
                told += half
        done, left = 0, len(rows) - told

        def fitted(n: int) -> None:
            nonlocal done
            more = left * (done + n) // len(rows) - left * done // len(rows)
            done += n
            if more:
                step(more)

        self._lists.append(prepared, self._decode, fitted)

    def _commit(self) -> None:
        self._lists.commit()

    def _truncate(self, n: int) -> None:
        super()._truncate(n)
        if self._clusters is not None:
            self._clusters.truncate(n)

    def _move(self, sources: I64, targets: I64) -> None:
        super()._move(sources, targets)
        self._lists.move(sources, targets)

    def _clear(self) -> None:
        super()._clear()
        if self._clusters is not None:
            self._clusters.clear()

    def _shrink(self) -> None:
        if self._clusters is not None:
            self._clusters.compact()
        super()._shrink()

    @property
    def _lists(self) -> LorannLists:
        assert self._clusters is not None
        return self._clusters

    # Asking it

    def _default_candidates(self, k: int) -> int:
        return max(40 * k, 400)

    def _search(self, queries: F32, k: int, allowed: Bits | None, effort: dict[str, Any]) -> tuple[F32, I64]:
        lists = self._lists
        if allowed is not None and allowed.count == len(self):
            allowed = None
        if allowed is not None and allowed.count <= DIRECT:
            return self._among(queries, k, allowed)
        candidates = self._candidates(k, effort)
        given = effort.get("nprobe", self._nprobe)
        nprobe = max(FEWEST, lists.n_lists // 8) if given is None else max(int(given), 1)
        wanted = min(max(k, candidates), len(self))
        if allowed is not None:
            # The nearest allowed rows lie farther away, in more clusters; as for inverted lists.
            nprobe = math.ceil(nprobe * (len(self) / allowed.count) ** 0.25)
            wanted = min(max(wanted, 10 * k), allowed.count)

        def asked(some: F32) -> tuple[Probe, Look]:
            threads = get_num_threads() if len(some) > 1 else 1
            scorer = lists.scorer(some, threads)

            def look(probes: I64) -> tuple[F32, I64]:
                codec, codes = self._parts[0]
                return probing.search(
                    scorer,
                    codec.scorer(some, codes, threads) if candidates else None,
                    self._placed(),
                    probes,
                    k,
                    max(k, candidates),
                    allowed,
                    self._ids.stored,
                    self._ids.base,
                    threads,
                    SCREENED * k,
                )

            return lambda n: scorer.nearest_lists(n, threads), look

        return read_lists(asked, queries, k, min(nprobe, lists.n_lists), lists.lists, allowed, wanted)

    def _among(self, queries: F32, k: int, allowed: Bits) -> tuple[F32, I64]:
        threads = get_num_threads()
        codec, codes = self._parts[0]
        last = codec.scorer(queries, codes, threads)
        ids = self._ids
        return probing.search_among(last, self._placed(), k, allowed, ids.stored, ids.base, threads)

    def _placed(self) -> Placed:
        return Placed(self._lists.lists, self.metric == "l2", by_slot=True)

    def _range(self, queries: F32, radii: F32, allowed: Bits | None) -> tuple[I64, F32, I64]:
        n = self._ids.n_slots
        codec, codes = self._parts[0]
        threads = get_num_threads()
        scorer = codec.scorer(queries, codes, threads)
        return scan.range_search(scorer, n, radii, allowed, self._ids.stored, self._ids.base, threads)

    def _bytes(self, *, cold: bool) -> int:
        total = self._parts[0][1].nbytes(cold=cold)
        return total if self._clusters is None else total + self._clusters.nbytes(cold=cold)

    # Files

    def _state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        codec, codes = self._parts[0]
        learned, sections = codec.state()
        fields: dict[str, Any] = {"codec": learned, "trained": self._clusters is not None}
        if self._clusters is not None:
            arrays = {**self._clusters.sections(), **codes.sections(self._ids.n_slots)}
            sections = {**sections, **arrays}
        return fields, sections

    def _restore(self, header: Mapping[str, Any], sections: Sections, n: int) -> None:
        codec, codes = self._parts[0]
        codec.restore(field(header, "codec", dict), sections)
        if not field(header, "trained", bool):
            if n:
                raise FormatError(f"holds {n} rows but no clusters", file=sections.file)
            return
        if not codec.is_trained or self._n_clusters is None or self._projection is None:
            raise FormatError("has clusters but not what rows were coded with", file=sections.file)
        # Looked at before memory for so many clusters is taken.
        sections.take("models.centres", np.float32, (self._n_clusters, self._projection))
        self._clusters = self._new_clusters(self._n_clusters, self._projection)
        self._clusters.restore(sections, n)
        codes.restore(sections, n)


def coordinates_of(dim: int) -> int:
    """Return how many coordinates models work in by default."""
    return dim if dim <= 192 else min(max(192, dim // 2), 256)
