"""SymphonyQG: a graph whose vertices hold codes of their links, so that a look at one scores them all."""

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..arrays import as_count
from ..codecs.codec import Codec
from ..codecs.links import LinkCodes, LinkQueries, lanes_of
from ..codecs.lvq import LVQCodec
from ..codecs.lvq_codes import LVQRows
from ..codecs.plain import PlainCodec
from ..codecs.rabitq import FEWEST_LINKS, PQ4, TRAINING_LINKS, LinkCoder, RaBitQ
from ..contents import Sections, field
from ..graph.graph import Graph
from ..ids import MAX_ROWS
from ..parallel.crew import get_num_threads
from ..parallel.signals import uninterrupted
from ..scorer import LinkScorer, Scorer
from .family import F32, I64
from .navigable import NavigableIndex

CODES = (*(f"rabitq{bits}" for bits in range(1, 9)), "pq4")
# What has the last word: bits of a second level, or rows of their own.
VECTORS: Mapping[str, int | str] = {
    "lvq8": 0,
    "lvq8x4": 4,
    "lvq8x8": 8,
    "float16": "float16",
    "float32": "float32",
}
# Efforts by names: the walk alone, its best scored again, every row.
MODES: Mapping[str, Mapping[str, int]] = {
    "fastscan": {"rerank": 0},
    "rerank": {},
    "flat_exact": {"ef": MAX_ROWS, "rerank": MAX_ROWS},
}
# Dimensions times bits that a code of a link has at least, if need be of several bits a dimension.
CODE_BITS = 64


class SymphonyQGIndex(NavigableIndex):
    """A graph that is walked by estimates: each vertex holds codes of those it links to.

    A search reads a vertex once, its own 8-bit code and the codes of its links, and has the vertex's distance
    from the one and estimates of its links' from the other, 32 of them in one pass of table look-ups. It
    never reads a vertex that it does not go to. Of all graphs here it takes the most memory.

    Parameters
    ----------
    dim, metric, seed
        See `Index`.
    degree : int, 32 .. 512, a multiple of 32
        Most links of a row.
    ef_construction : int
        How many rows the search for the neighbours of a new one keeps in view.
    code : {None, "rabitq1", .., "rabitq8", "pq4"}
        How links are coded: by RaBitQ of so many bits a dimension, or by 4 bits for each four dimensions,
        whose centroids are learned from links. Each bit halves the error of the estimates, and takes
        degree * dim / 8 bytes a row. None is "rabitq1", or more bits below 64 dimensions.
    vectors : {None, "lvq8", "lvq8x4", "lvq8x8", "float16", "float32"}
        What has the last word: the 8-bit codes that the walk has seen, or cold beside these a second level of
        4 or 8 bits, or the rows themselves; dim / 2, dim, 2 * dim or 4 * dim bytes more. After a load by mmap
        they stay on disk until asked for. None is "lvq8x8"; "lvq8x4" finds 0.0004 less of real data.

    Attributes
    ----------
    ef : int or None
        Effort: how many rows a search keeps in view, at least k; None is max(64, 2 k).
    rerank : int or None
        Effort: how many of those found are scored with everything that is known; None is
        k + max(2, k / 4), or none with "lvq8". 0 trusts the walk.
    mode : {"rerank", "fastscan", "flat_exact"}
        Of one `search` only, in place of `rerank`: its candidates are scored again; are not (`rerank=0`); all
        rows are scored with everything that is known of them, O(n * dim).

    Notes
    -----
    About dim + 20 + degree * (dim / 8 + 8) bytes a row are hot. A search goes to about ef rows, to fewer
    where the estimates of the others leave no doubt that none is among the nearest: `rerank`, k, or an eighth
    of ef of them. Removal and `range_search` are those of `GraphIndex`.

    References
    ----------
    Gou, Gao, Xu and Long, SymphonyQG: Towards symphonious integration of quantization and graph for
    approximate nearest neighbor search, SIGMOD 2025. Differs in the vertices' own codes, the factors, the
    front of the walk and its end, the build, and in all that a graph needs in order to change; see
    codecs/rabitq.pyx, kernels/front.hpp and graph/build.pyx.
    """

    __slots__ = ("_code", "_coder", "_links", "_vectors")
    OPTIONS: ClassVar[tuple[str, ...]] = ("degree", "ef_construction", "code", "vectors")

    def __init__(
        self,
        dim: int,
        metric: str = "l2",
        *,
        degree: int = 32,
        ef_construction: int = 128,
        code: str | None = None,
        vectors: str | None = None,
        seed: int = 0,
    ) -> None:
        dim, l2, seed = as_count(dim, "dim"), metric == "l2", as_count(seed, "seed", 0)
        if code is None:
            code = f"rabitq{min(8, max(1, round(CODE_BITS / dim)))}"
        if code not in CODES:
            raise ValueError(f"code must be None or one of {', '.join(CODES)}, not {code!r}")
        if vectors is None:
            vectors = "lvq8x8"
        if vectors not in VECTORS:
            raise ValueError(f"vectors must be None or one of {', '.join(VECTORS)}, not {vectors!r}")
        lanes = lanes_of(as_count(degree, "degree"), code)
        last = VECTORS[vectors]
        residual_bits = last if isinstance(last, int) else 0
        codecs: list[Codec] = [LVQCodec(dim, l2, 8, residual_bits, 1, seed, layout="rows")]
        if isinstance(last, str):
            codecs.append(PlainCodec(dim, l2, last))
        super().__init__(codecs, dim, metric, degree, ef_construction, seed)
        self._code, self._vectors = code, vectors
        self._coder: LinkCoder
        if code == "pq4":
            self._coder = PQ4(dim)
        else:
            self._coder = RaBitQ(dim, int(code.removeprefix("rabitq")), 4 if lanes == 32 else 6)
        self._links = LinkCodes(self._coder, self.degree)

    @property
    def code(self) -> str:
        """How links are coded."""
        return self._code

    @property
    def vectors(self) -> str:
        """What has the last word."""
        return self._vectors

    @property
    def spec(self) -> str:
        """The degree: "SymQG32"."""
        return f"SymQG{self.degree}"

    @classmethod
    def parse(cls, spec: str) -> dict[str, Any] | None:
        """Return the degree of a spec such as "SymQG32"."""
        parts = re.fullmatch(r"SymQG([1-9]\d{0,3})", spec)
        return None if parts is None else {"degree": int(parts[1])}

    # Changing it: codes of links follow from the links and the rows, and are made anew where these changed

    def _encode(self, vertices: npt.NDArray[np.uint32] | None, graph: Graph | None = None) -> None:
        codec, codes = self._parts[0]
        assert isinstance(codec, LVQCodec)
        assert isinstance(codes, LVQRows)
        places = (self._graph if graph is None else graph).table.rows
        self._links.encode_links(
            self._coder, codes, codec.frame, codec.squared_l2, places, vertices, get_num_threads()
        )

    def _learned(self) -> Any:
        return super()._learned(), self._coder

    def _unlearn(self, learned: Any) -> None:
        parts, coder = learned
        super()._unlearn(parts)
        if self._coder is not coder:
            self._coder = coder
            self._encode(None)

    def _reserve(self, n: int) -> None:
        super()._reserve(n)
        self._links.reserve(n)

    def _store(self, rows: F32, step: Callable[[int], None]) -> None:
        super()._store(rows, step)
        self._links.resize(len(self._graph))
        if isinstance(self._coder, PQ4) and not self._coder.is_learned and self._learn():
            self._encode(None)
        else:
            self._encode(self._graph.changed())

    def _learn(self) -> bool:
        # Centroids from a sample of the links, in the frame in which they are coded.
        places = self._graph.table.rows
        slots, at = np.nonzero(places < len(places))
        if len(slots) < FEWEST_LINKS:
            return False
        chosen = np.random.default_rng(self.seed).choice(
            len(slots), min(TRAINING_LINKS, len(slots)), replace=False
        )
        codec, codes = self._parts[0]
        assert isinstance(codec, LVQCodec)
        assert codec.rotation is not None
        ends = codec.decode(codes, places[slots[chosen], at[chosen]].astype(np.int64))
        with np.errstate(over="ignore", invalid="ignore"):  # rows of numbers that are as good as infinite
            steps = codec.rotation.apply(ends - codec.decode(codes, slots[chosen]))
        # Neither do copies of a row say anything of directions.
        steps = steps[np.isfinite(steps).all(axis=1) & steps.any(axis=1)]
        if len(steps) < FEWEST_LINKS:
            return False
        self._coder = PQ4.learned(steps, self._coder.width, seed=self.seed)
        return True

    def _truncate(self, n: int) -> None:
        changed = self._graph.changed()
        super()._truncate(n)
        self._links.resize(n)
        self._encode(changed[changed < n])

    def _take(self, graph: Graph) -> None:
        vertices = np.flatnonzero((graph.table.rows != self._graph.table.rows).any(axis=1)).astype(np.uint32)
        try:
            self._encode(vertices, graph)
            super()._take(graph)
        except BaseException:
            with uninterrupted():
                self._encode(vertices)
            raise

    def _move(self, sources: I64, targets: I64) -> None:
        super()._move(sources, targets)
        self._links.move(sources, targets)

    def _clear(self) -> None:
        super()._clear()
        self._links = LinkCodes(self._coder, self.degree)

    def _shrink(self) -> None:
        super()._shrink()
        self._links.compact()

    # Asking it

    def _checked(self, effort: Mapping[str, Any]) -> dict[str, Any]:
        mode = effort.get("mode", "rerank")
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
        numbers = {name: value for name, value in effort.items() if name != "mode"}
        return super()._checked({**numbers, **MODES[mode]})

    def _ahead(self, near: Scorer, threads: int) -> LinkScorer:
        return LinkQueries(self._coder, self._links, near, threads)

    def _default_candidates(self, k: int) -> int:
        return 0 if self._vectors == "lvq8" else k + max(2, k // 4)

    def _bytes(self, *, cold: bool) -> int:
        return super()._bytes(cold=cold) + (0 if cold else self._links.nbytes(cold=False))

    # Files

    def _state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        fields, sections = super()._state()
        fields["learned_links"] = isinstance(self._coder, PQ4) and self._coder.is_learned
        if isinstance(self._coder, PQ4) and self._coder.is_learned:
            sections["centroids"] = self._coder.centroids
        return fields, {**sections, **self._links.sections(self._ids.n_slots)}

    def _restore(self, header: Mapping[str, Any], sections: Sections, n: int) -> None:
        super()._restore(header, sections, n)
        if field(header, "learned_links", bool):
            if not isinstance(self._coder, PQ4):
                raise sections.fault("centroids", f"is not for links coded by {self._code}")
            book = sections.take("centroids", np.float32, self._coder.centroids.shape)
            if not np.isfinite(book).all():
                raise sections.fault("centroids", "holds a NaN or infinite value")
            self._coder = PQ4(self.dim, self._coder.width, np.array(book))
        self._links.restore(sections, n)
