"""QuIVer: a graph built and walked in two bits a dimension, the rows themselves only for the last word."""

import logging
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from ..arrays import as_count
from ..codecs.codec import Codec
from ..codecs.lvq import LVQCodec
from ..codecs.plain import PlainCodec
from ..codecs.signmag import TRANSFORMS, SignMagCodec
from ..progress import Progress
from ..scorer import Scorer
from .family import F32
from .navigable import NavigableIndex

logger = logging.getLogger("inlay")

VECTORS = ("float32", "float16", "lvq8")


class QuIVerIndex(NavigableIndex):
    """A graph over codes of two bits a dimension: sign and magnitude of the centred, rotated row.

    Building and walking touch the codes alone: dim / 4 bytes a row and the links. A query has four bits a
    dimension: that costs a walk nothing, which waits for memory, and leaves fewer rows to be scored by
    themselves, which may lie on disk.

    Parameters
    ----------
    dim, metric, seed
        See `Index`.
    degree : int, 2 .. 512
        Most links of a row; each costs 4 bytes.
    ef_construction : int
        How many rows the search for the neighbours of a new one keeps in view.
    vectors : {None, "lvq8", "float16", "float32"}
        How the rows themselves are kept, for the last word and for `reconstruct`: about dim + 20, 2 * dim or
        4 * dim bytes a row, cold. After a load by mmap they stay on disk until asked for. float16 takes
        numbers of up to 65,504 and loses those below 1e-7; LVQ of 8 bits takes any and gives up the last half
        point of recall. None is "float16" for "cosine", whose rows have length 1, else "lvq8".
    transform : {None, "raw", "centred", "rotated"}
        What is coded: rows as they are, about their mean, or that and rotated at random. None looks at a
        sample when training and takes what finds most of its nearest neighbours; `report` says what it saw.

    Attributes
    ----------
    ef : int or None
        Effort: how many rows a search keeps in view, at least k; None is max(64, 2 k).
    rerank : int or None
        Effort: how many of these are scored with the rows themselves; None is max(5 k, 50).

    Warns
    -----
    UserWarning
        When training finds that two bits a dimension do not tell the sample's rows apart.

    Notes
    -----
    16 * ceil(dim / 64) + 8 (16 for "ip" and "cosine") + 4 * degree bytes a row are hot; the code is padded to
    whole cache lines where that saves more of them than it costs. Removal and `range_search` are those of
    `GraphIndex`.

    References
    ----------
    QuIVer: Quantized index for vector retrieval, arXiv 2605.02171, 2026. Differs in the levels (1:3), the
    threshold, the two corrections a row, centring, rotation, the diversity rule and the build; see
    codecs/signmag.pyx and graph/build.pyx.
    """

    __slots__ = ("_vectors",)
    OPTIONS: ClassVar[tuple[str, ...]] = ("degree", "ef_construction", "vectors", "transform")

    def __init__(
        self,
        dim: int,
        metric: str = "l2",
        *,
        degree: int = 32,
        ef_construction: int = 128,
        vectors: str | None = None,
        transform: str | None = None,
        seed: int = 0,
    ) -> None:
        dim, l2, seed = as_count(dim, "dim"), metric == "l2", as_count(seed, "seed", 0)
        if vectors is None:
            vectors = "float16" if metric == "cosine" else "lvq8"
        if vectors not in VECTORS:
            raise ValueError(f"vectors must be one of {', '.join(VECTORS)}, not {vectors!r}")
        if transform is not None and transform not in TRANSFORMS:
            raise ValueError(f"transform must be None or one of {', '.join(TRANSFORMS)}, not {transform!r}")
        exact: Codec
        if vectors == "lvq8":
            exact = LVQCodec(dim, l2, 8, 0, 1, seed, may_drop_rotation=True, layout="rows")
        else:
            exact = PlainCodec(dim, l2, vectors)
        code = SignMagCodec(dim, l2, transform, seed=seed)
        super().__init__([code, exact], dim, metric, degree, ef_construction, seed)
        self._vectors = vectors

    @property
    def _code(self) -> SignMagCodec:
        code = self._parts[0][0]
        assert isinstance(code, SignMagCodec)
        return code

    @property
    def vectors(self) -> str:
        """How the rows themselves are kept."""
        return self._vectors

    @property
    def transform(self) -> str | None:
        """What is coded; None while that is open."""
        return self._code.transform

    @property
    def report(self) -> dict[str, Any]:
        """What training saw in its sample; empty before."""
        return dict(self._code.report)

    @property
    def spec(self) -> str:
        """The degree: "QuIVer32"."""
        return f"QuIVer{self.degree}"

    @classmethod
    def parse(cls, spec: str) -> dict[str, Any] | None:
        """Return the degree of a spec such as "QuIVer32"."""
        parts = re.fullmatch(r"QuIVer([1-9]\d{0,3})", spec)
        return None if parts is None else {"degree": int(parts[1])}

    def _train(self, rows: F32, progress: Progress) -> None:
        super()._train(rows, progress)
        logger.info("QuIVer codes %s rows: %s", self.transform, self.report)

    def _default_candidates(self, k: int) -> int:
        return max(5 * k, 50)

    def _candidates(self, k: int, effort: Mapping[str, Any]) -> int:
        # Two bits are never the last word.
        return max(super()._candidates(k, effort), k)

    def _near(self, queries: F32, threads: int) -> Scorer:
        return self._code.fine(queries, self._parts[0][1], threads)
