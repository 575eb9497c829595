"""An inverted file: rows in lists about centres, in any code, of which a search reads the nearest."""

import math
import re
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..arrays import as_count
from ..clusters import assign, sample
from ..codecs.additive import AdditiveCodec
from ..codecs.lvq import LVQCodec
from ..ids import Bits
from ..parallel.crew import get_num_threads
from ..progress import Progress
from . import probing, scan
from .additive import codecs_of_vectors
from .candidates import Placed
from .coded import U8
from .codes import codec_of, is_code
from .family import F32, I64, Effort
from .listed import ListedIndex, Look, Probe, read_lists

# Allowed rows that are scored one by one, at most, instead of being looked for in lists: of 100,000 that
# takes as long.
DIRECT = 2_000
# Rows whose residuals codes learn from: as many as codes of 256 words want.
CODED_ROWS = 65_536
# Lists that a search reads by itself: so many, or a sixteenth.
FEWEST, MOST = 8, 128


class IVFIndex(ListedIndex):
    """Inverted file: a search reads the lists of the nearest centres only.

    Parameters
    ----------
    dim, metric, seed
        See `Index`.
    n_lists : int or None
        How many lists. None leaves it to training, which takes 4 sqrt(n) of n rows.
    code : str
        How rows are kept: "Flat" (float32), "LVQ4", "LVQ8", "LVQ4x4", "LVQ4x8", "LVQ8x8" (see `LVQIndex`),
        "PQ16", "PQ32x4fs" (see `PQIndex`), "RVQ8x8" and the like (see `RVQIndex`).
    by_residual : bool or None
        Code what a list's centre leaves of a row, which is shorter. None does it for all codes but "Flat",
        which cannot gain by it, and those of 8 bits a dimension, of which no search shows that they do.
    vectors : {None, "lvq8", "float16", "float32"}
        What is kept of the rows beside their codes, cold, to score candidates again.

    Attributes
    ----------
    nprobe : int or None
        Effort: how many lists a search reads. None is n_lists / 16, but 8 at least and 128 at most. With a
        filter that allows a part p of the rows it reads p^(-1/4) times as many, as the nearest of these lie
        farther away; and it reads on where lists hold fewer rows than it needs.
    rerank : int or None
        Effort: how many candidates are scored again, at most, with everything the index has; 0 trusts the
        scan. None is the default of the code's own index.

    Notes
    -----
    Beside the code 8 bytes a row and half a page (8 rows) a list. A search takes O(n_lists * dim) for the
    nearest lists, of which there are codes of 8 bits (from 32,768 lists on a graph finds them), and
    O(nprobe * n / n_lists * dim) for their rows. One preparation of a query serves all lists, also those
    coded by residual:

        |q - c - r|^2 = |q|^2 - 2 <q, c> - 2 <q, r> + |c + r|^2        where the last is stored

    `range_search` scores every row.

    References
    ----------
    Sivic and Zisserman, Video Google: a text retrieval approach to object matching in videos, ICCV 2003.
    Jégou, Douze and Schmid, Product quantization for nearest neighbor search, PAMI 2011.
    """

    __slots__ = ("_by_residual", "_code", "_vectors")
    OPTIONS: ClassVar[tuple[str, ...]] = ("n_lists", "code", "by_residual", "vectors")
    EFFORT: ClassVar[tuple[str, ...]] = ("nprobe", "rerank")
    rerank = Effort("Candidates scored again; None for the default of the code.")

    def __init__(
        self,
        dim: int,
        metric: str = "l2",
        *,
        n_lists: int | None = None,
        code: str = "LVQ8",
        by_residual: bool | None = None,
        vectors: str | None = None,
        seed: int = 0,
    ) -> None:
        if not (by_residual is None or isinstance(by_residual, (bool, np.bool_))):
            raise TypeError(f"by_residual must be True, False or None, not {by_residual!r}")
        dim, l2 = as_count(dim, "dim"), metric == "l2"
        if code == "Flat" and by_residual:
            raise ValueError("rows that are kept as they are gain nothing by_residual")
        if by_residual is None:
            by_residual = is_code(code) and code != "Flat" and not code.startswith("LVQ8")
        self._code, self._vectors, self._by_residual = code, vectors, bool(by_residual)
        codec = codec_of(code, dim, l2, as_count(seed, "seed", 0), residual=self._by_residual)
        super().__init__([codec, *codecs_of_vectors(vectors, dim, l2)], dim, metric, n_lists, seed)

    @property
    def code(self) -> str:
        """How rows are kept."""
        return self._code

    @property
    def by_residual(self) -> bool:
        """Whether codes are of what centres leave of rows."""
        return self._by_residual

    @property
    def vectors(self) -> str | None:
        """What is kept of the rows beside their codes."""
        return self._vectors

    @property
    def spec(self) -> str:
        """The lists and the code: "IVF1024,LVQ8"; "IVF,LVQ8" while the number of lists is open."""
        return f"IVF{self.n_lists or ''},{self.code}"

    @classmethod
    def parse(cls, spec: str) -> dict[str, Any] | None:
        """Return the options of a spec such as "IVF1024,LVQ8"."""
        match = re.fullmatch(r"IVF([1-9][0-9]{0,8})?,(.+)", spec)
        if match is None or not is_code(match[2]):
            return None
        return {"n_lists": int(match[1]) if match[1] else None, "code": match[2]}

    # Changing it

    def _learn_codes(self, rows: F32, centres: F32, progress: Progress) -> None:
        for number, (codec, _) in enumerate(self._parts):
            if self.by_residual and number == 0:
                some = sample(rows, CODED_ROWS, self.seed)
                origins = centres[assign(some, centres, spherical=self.metric != "l2")[0]]
                codec.train(some - origins, seed=self.seed, progress=progress, origins=origins)
            else:
                codec.train(rows, seed=self.seed, progress=progress)

    def _put(self, rows: F32, labels: npt.NDArray[np.uint32], places: I64) -> None:
        assert self._centres is not None
        for number, (codec, codes) in enumerate(self._parts):
            origins = self._centres[labels] if self._about(number) else None
            coded = codec.encode(rows if origins is None else rows - origins, None, origins)
            codes.place(places, coded, np.arange(len(rows)))

    def _decode(self, slots: I64) -> F32:
        rows = super()._decode(slots)
        if self.by_residual and len(self._parts) == 1 and len(slots):
            assert self._centres is not None
            assert self._lists is not None
            rows += self._centres[self._lists.lists_of(slots)]
        return rows

    # Codes by themselves: the number of the row's list, then its code

    @property
    def code_size(self) -> int:
        """Bytes of what `encode` gives for a row."""
        return 4 + super().code_size

    def _packed(self, rows: F32) -> U8:
        assert self._centres is not None
        labels = self._labels(rows)
        codec = self._parts[-1][0]
        origins = self._centres[labels] if self._about(len(self._parts) - 1) else None
        codes = codec.encode(rows if origins is None else rows - origins, None, origins)
        lists = labels.astype("<u4").view(np.uint8).reshape(len(rows), 4)
        return np.concatenate([lists, codes.pack(np.arange(len(rows)))], axis=1)

    def _unpacked(self, packed: U8) -> F32:
        assert self._centres is not None
        lists = np.ascontiguousarray(packed[:, :4]).view("<u4")[:, 0]
        if len(lists) and lists.max() >= len(self._centres):
            raise ValueError(f"codes name list {lists.max()} of {len(self._centres)}")
        rows = super()._unpacked(packed[:, 4:])
        return rows + self._centres[lists] if self._about(len(self._parts) - 1) else rows

    def _about(self, part: int) -> bool:
        """Tell whether codes of a part are of what centres leave of rows; rows beside codes are whole."""
        return self.by_residual and part == 0

    # Asking it

    def _default_candidates(self, k: int) -> int:
        codec = self._parts[0][0]
        if isinstance(codec, AdditiveCodec):
            return max(10 * k, 100) if self._vectors else max(2 * k, 16)
        if isinstance(codec, LVQCodec):
            return max(5 * k, 50) if codec.bits == 4 else max(3 * k, 30)
        return 0

    def _placed(self, queries: F32, part: int) -> Placed:
        assert self._lists is not None
        about = self._about(part)
        return Placed(
            self._lists, self.metric == "l2", queries if about else None, self._centres if about else None
        )

    def _search(self, queries: F32, k: int, allowed: Bits | None, effort: dict[str, Any]) -> tuple[F32, I64]:
        if allowed is not None and allowed.count == len(self):
            allowed = None
        if allowed is not None and allowed.count <= DIRECT:
            return self._among(queries, k, allowed)
        assert self._lists is not None
        assert self._n_lists is not None
        given = effort.get("nprobe", self._nprobe)
        nprobe = min(max(FEWEST, self._n_lists // 16), MOST) if given is None else max(1, int(given))
        nprobe = min(nprobe, self._n_lists)
        candidates = self._candidates(k, effort)
        wanted = min(max(k, candidates), len(self))
        if allowed is not None:
            # The nearest allowed rows lie farther away, so they are spread over more lists: for the recall of
            # all rows less 0.02, 1.5 times as many where a tenth is allowed, 2.6 times for a fiftieth.
            nprobe = min(math.ceil(nprobe * (len(self) / allowed.count) ** 0.25), self._n_lists)
            wanted = min(wanted, allowed.count)

        def asked(some: F32) -> tuple[Probe, Look]:
            return (
                lambda n: self._probes(some, n),
                lambda probes: self._look(some, k, candidates, allowed, probes),
            )

        return read_lists(asked, queries, k, nprobe, self._lists, allowed, wanted)

    def _look(
        self, queries: F32, k: int, candidates: int, allowed: Bits | None, probes: I64
    ) -> tuple[F32, I64]:
        threads = get_num_threads()
        codec, codes = self._parts[0]
        scanner = codec.scorer(queries, codes, threads)
        last = None
        if candidates:
            exact, rows = self._parts[-1]
            last = scanner if exact is codec else exact.scorer(queries, rows, threads)
        return probing.search(
            scanner,
            last,
            self._placed(queries, 0),
            probes,
            k,
            max(k, candidates),
            allowed,
            self._ids.stored,
            self._ids.base,
            threads,
        )

    def _among(self, queries: F32, k: int, allowed: Bits) -> tuple[F32, I64]:
        threads = get_num_threads()
        codec, codes = self._parts[-1]
        return probing.search_among(
            codec.scorer(queries, codes, threads),
            self._placed(queries, len(self._parts) - 1),
            k,
            allowed,
            self._ids.stored,
            self._ids.base,
            threads,
        )

    def _range(self, queries: F32, radii: F32, allowed: Bits | None) -> tuple[I64, F32, I64]:
        n = self._ids.n_slots
        threads = get_num_threads()
        codec, codes = self._parts[-1]
        return scan.range_search(
            codec.scorer(queries, codes, threads),
            n,
            radii,
            allowed,
            self._ids.stored,
            self._ids.base,
            threads,
            self._placed(queries, len(self._parts) - 1),
        )
