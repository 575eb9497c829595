"""Who is compared: one line per contender, and the three ways of talking to a library.

``CONTENDERS`` is the whole list. A line gives a name, an engine and the settings to sweep; a new family is a
new line. An engine hides how its library is built, told its threads and asked; nothing else in ``compat``
names a library.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from itertools import product
from typing import Any, Literal

import numpy as np

from compat.data import Floats, Ids, Metric

Setting = dict[str, int]
Settings = Callable[[int], list[Setting]]
Kind = Literal["graph", "lists", "scan"]
KINDS: dict[Kind, str] = {
    "graph": "Graphs: links are followed",
    "lists": "Lists: some clusters are read",
    "scan": "Scans: every row is scored",
}

DISTRIBUTION = {"inlay": "inlay", "faiss": "faiss-cpu", "hnswlib": "hnswlib"}


class Engine(ABC):
    """One index of one library; ``library`` is the module it needs, ``recipe`` the kind of index."""

    library: str

    def __init__(self, dim: int, metric: Metric, *recipe: Any) -> None:
        self.dim, self.metric = dim, metric
        self.module: Any = importlib.import_module(self.library)

    @abstractmethod
    def build(self, rows: Floats, threads: int) -> None:
        """Train on and add all rows; ids are row numbers."""

    @abstractmethod
    def apply(self, setting: Setting, threads: int) -> None:
        """Make later searches use this setting and so many threads."""

    @abstractmethod
    def search(self, queries: Floats, k: int) -> Ids:
        """Return ids of shape (q, k), best first, -1 where one is missing."""

    @abstractmethod
    def nbytes(self) -> int:
        """Return the bytes the library says the index takes."""

    def nbytes_cold(self) -> int | None:
        """Return how many of those only the last candidates of a search touch; None where it does not say."""
        return None


class Inlay(Engine):
    """An Inlay index made by its spec string, and perhaps by what it keeps of the rows (`vectors`)."""

    library = "inlay"

    def __init__(self, dim: int, metric: Metric, spec: str, vectors: str | None = None) -> None:
        super().__init__(dim, metric, spec, vectors)
        options = {} if vectors is None else {"vectors": vectors}
        self.index = self.module.from_spec(spec, dim, metric, **options)
        self.effort: Setting = {}

    def build(self, rows: Floats, threads: int) -> None:
        """Train, then add."""
        self.module.set_num_threads(threads)
        self.index.train(rows, progress=False)
        self.index.add(rows, progress=False)

    def apply(self, setting: Setting, threads: int) -> None:
        """Keep the effort for the searches to come."""
        self.module.set_num_threads(threads)
        self.effort = setting

    def search(self, queries: Floats, k: int) -> Ids:
        """Search, and keep the ids."""
        found: Ids = self.index.search(queries, k, **self.effort)[1]
        return found

    def nbytes(self) -> int:
        """Return ``nbytes``."""
        return int(self.index.nbytes)

    def nbytes_cold(self) -> int | None:
        """Return ``nbytes_cold``."""
        return int(self.index.nbytes_cold)


class Faiss(Engine):
    """A faiss index made by its factory string; settings are the names of faiss's ``ParameterSpace``.

    ``{m}`` in the factory string stands for the largest divisor of the dimensions up to their half,
    ``{lists}`` for as many as suit the rows; an ``ef_construction`` of 0 leaves what faiss has.
    """

    library = "faiss"

    def __init__(self, dim: int, metric: Metric, factory: str, ef_construction: int = 0) -> None:
        super().__init__(dim, metric, factory, ef_construction)
        self.factory, self.ef_construction = factory, ef_construction

    def build(self, rows: Floats, threads: int) -> None:
        """Make the index, train, then add."""
        half = max(m for m in range(1, max(2, self.dim // 2 + 1)) if self.dim % m == 0)
        described = self.factory.format(m=half, lists=n_lists(len(rows)))
        kind = self.module.METRIC_L2 if self.metric == "l2" else self.module.METRIC_INNER_PRODUCT
        self.module.omp_set_num_threads(threads)
        self.index = self.module.index_factory(self.dim, described, kind)
        if self.ef_construction:
            self._set("efConstruction", self.ef_construction)
        self.index.train(rows)
        self.index.add(rows)

    def apply(self, setting: Setting, threads: int) -> None:
        """Set parameters on the index itself."""
        self.module.omp_set_num_threads(threads)
        for name, value in setting.items():
            self._set(name, value)

    def search(self, queries: Floats, k: int) -> Ids:
        """Search, and keep the labels."""
        found: Ids = self.index.search(queries, k)[1]
        return found

    def nbytes(self) -> int:
        """Return the size of the serialised index."""
        return int(self.module.serialize_index(self.index).nbytes)

    def _set(self, name: str, value: int) -> None:
        self.module.ParameterSpace().set_index_parameter(self.index, name, value)


class Hnswlib(Engine):
    """An hnswlib graph; the setting is ``ef``. Rows are unit length for cosine, so its "ip" space serves."""

    library = "hnswlib"

    def __init__(self, dim: int, metric: Metric, links: int, ef_construction: int) -> None:
        super().__init__(dim, metric, links, ef_construction)
        self.index = self.module.Index("l2" if metric == "l2" else "ip", dim)
        self.shape = {"M": links, "ef_construction": ef_construction}
        self.threads = 1

    def build(self, rows: Floats, threads: int) -> None:
        """Insert row by row."""
        self.index.init_index(len(rows), **self.shape)
        self.index.add_items(rows, num_threads=threads)

    def apply(self, setting: Setting, threads: int) -> None:
        """Set the width of the walk."""
        self.threads = threads
        if "ef" in setting:
            self.index.set_ef(setting["ef"])

    def search(self, queries: Floats, k: int) -> Ids:
        """Walk the graph."""
        return np.asarray(self.index.knn_query(queries, k, num_threads=self.threads)[0], dtype=np.int64)

    def nbytes(self) -> int:
        """Return the size of the file it would save."""
        return int(self.index.index_file_size())


def n_lists(n: int) -> int:
    """Return how many lists faiss gets: the power of two at or below 4 sqrt(n), which Inlay takes by itself.

    A list has the 39 rows at least below which faiss warns.
    """
    return 1 << max(0, int(math.log2(min(4 * math.sqrt(n), max(1, n / 39)))))


@dataclass(frozen=True)
class Contender:
    """A name, how its engine is made, and its settings for a given k.

    ``kind`` says what a search does: it follows a graph, reads some lists, or scores every row. The settings
    are the efforts of that, from the least to the most.
    """

    name: str
    kind: Kind
    engine: type[Engine]
    recipe: tuple[Any, ...]
    settings: Settings

    def make(self, dim: int, metric: Metric) -> Engine:
        """Return an empty index; an ImportError when the library is missing."""
        return self.engine(dim, metric, *self.recipe)

    @property
    def is_baseline(self) -> bool:
        """True for everything that is not Inlay."""
        return self.engine.library != "inlay"


def as_it_is(k: int) -> list[Setting]:
    """Nothing to set: one point."""
    return [{}]


def times_k(name: str, factors: Sequence[int], k: int) -> list[Setting]:
    """Candidates kept for a second look: so many times k."""
    return [{name: k * factor} for factor in factors]


def fixed(name: str, values: Sequence[int], k: int) -> list[Setting]:
    """Values that do not depend on k."""
    return [{name: value} for value in values]


def at_least_k(name: str, values: Sequence[int], k: int) -> list[Setting]:
    """Widths of a graph walk, which cannot be below k."""
    return [{name: value} for value in sorted({max(k, value) for value in values})]


def both(one: Settings, other: Settings, k: int) -> list[Setting]:
    """Every setting of one effort with every one of another."""
    return [first | second for first, second in product(one(k), other(k))]


RERANK = partial(times_k, "rerank", (0, 1, 2, 5, 10, 20, 40))
REFINE = partial(fixed, "k_factor_rf", (1, 2, 5, 10, 20, 40))
WIDTHS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 400, 600)
EF = partial(at_least_k, "ef", WIDTHS)
EF_SEARCH = partial(at_least_k, "efSearch", WIDTHS)
PROBES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
NPROBE = partial(fixed, "nprobe", PROBES)
# Codes of few bits in lists: how many lists, and how many candidates get a second look.
NPROBE_RERANK = partial(both, NPROBE, partial(times_k, "rerank", (5, 20)))
NPROBE_REFINE = partial(both, NPROBE, partial(fixed, "k_factor_rf", (5, 20)))
EF_CONSTRUCTION = 200  # of every baseline's graph

CONTENDERS: tuple[Contender, ...] = (
    Contender("inlay-HNSW32", "graph", Inlay, ("HNSW32",), EF),
    Contender("inlay-HNSW32,LVQ8", "graph", Inlay, ("HNSW32,LVQ8",), EF),
    Contender("inlay-HNSW32,LVQ4x8", "graph", Inlay, ("HNSW32,LVQ4x8",), EF),
    Contender("inlay-QuIVer32", "graph", Inlay, ("QuIVer32",), EF),
    Contender("inlay-SymQG32", "graph", Inlay, ("SymQG32",), EF),
    Contender("faiss-HNSW32", "graph", Faiss, ("HNSW32", EF_CONSTRUCTION), EF_SEARCH),
    Contender("faiss-HNSW32,SQ8", "graph", Faiss, ("HNSW32,SQ8", EF_CONSTRUCTION), EF_SEARCH),
    Contender("hnswlib-M16", "graph", Hnswlib, (16, EF_CONSTRUCTION), EF),
    Contender("inlay-LoRANN", "lists", Inlay, ("LoRANN",), NPROBE),
    Contender("inlay-IVF,Flat", "lists", Inlay, ("IVF,Flat",), NPROBE),
    Contender("inlay-IVF,LVQ8", "lists", Inlay, ("IVF,LVQ8",), NPROBE),
    Contender("inlay-IVF,LVQ4x8", "lists", Inlay, ("IVF,LVQ4x8",), NPROBE),
    Contender("inlay-IVF,PQ96x4fs+lvq8", "lists", Inlay, ("IVF,PQ96x4fs", "lvq8"), NPROBE_RERANK),
    Contender("inlay-IVF,RVQ8x8+lvq8", "lists", Inlay, ("IVF,RVQ8x8", "lvq8"), NPROBE_RERANK),
    Contender("faiss-IVF,SQ8", "lists", Faiss, ("IVF{lists},SQ8",), NPROBE),
    Contender("faiss-IVF,PQfs+SQ8", "lists", Faiss, ("IVF{lists},PQ{m}x4fs,Refine(SQ8)",), NPROBE_REFINE),
    Contender("faiss-IVF,RaBitQfs+SQ8", "lists", Faiss, ("IVF{lists},RaBitQfs,Refine(SQ8)",), NPROBE_REFINE),
    Contender("inlay-Flat", "scan", Inlay, ("Flat",), as_it_is),
    Contender("inlay-LVQ4", "scan", Inlay, ("LVQ4",), as_it_is),
    Contender("inlay-LVQ8", "scan", Inlay, ("LVQ8",), RERANK),
    Contender("inlay-LVQ4x4", "scan", Inlay, ("LVQ4x4",), RERANK),
    Contender("inlay-LVQ4x8", "scan", Inlay, ("LVQ4x8",), RERANK),
    Contender("inlay-LVQ8x4", "scan", Inlay, ("LVQ8x4",), RERANK),
    Contender("inlay-LVQ8x8", "scan", Inlay, ("LVQ8x8",), RERANK),
    Contender("inlay-PQ48+lvq8", "scan", Inlay, ("PQ48", "lvq8"), RERANK),
    Contender("inlay-PQ96x4fs+lvq8", "scan", Inlay, ("PQ96x4fs", "lvq8"), RERANK),
    Contender("inlay-RVQ8x8+lvq8", "scan", Inlay, ("RVQ8x8", "lvq8"), RERANK),
    Contender("faiss-Flat", "scan", Faiss, ("Flat",), as_it_is),
    Contender("faiss-SQ4", "scan", Faiss, ("SQ4",), as_it_is),
    Contender("faiss-SQ8", "scan", Faiss, ("SQ8",), as_it_is),
    Contender("faiss-SQ4+SQ8", "scan", Faiss, ("SQ4,Refine(SQ8)",), REFINE),
    Contender("faiss-PQfs+SQ8", "scan", Faiss, ("PQ{m}x4fs,Refine(SQ8)",), REFINE),
    Contender("faiss-RaBitQfs+SQ8", "scan", Faiss, ("RaBitQfs,Refine(SQ8)",), REFINE),
    Contender("faiss-RQ8x8+SQ8", "scan", Faiss, ("RQ8x8,Refine(SQ8)",), REFINE),
)


def select(patterns: Sequence[str]) -> list[Contender]:
    """Return the contenders that are named, or whose names match a shell pattern or hold a word.

    Raises
    ------
    ValueError
        When a pattern matches nobody.
    """
    names = [contender.name for contender in CONTENDERS]
    chosen: set[str] = set()
    for pattern in patterns:
        matching = {name for name in names if fnmatch(name, pattern) or pattern in name}
        if not matching:
            raise ValueError(f"no contender matches {pattern!r}; there are {', '.join(names)}")
        chosen |= {pattern} if pattern in matching else matching
    return [c for c in CONTENDERS if not patterns or c.name in chosen]


def present(contenders: Sequence[Contender]) -> list[Contender]:
    """Return the contenders whose library is installed; say on stderr which are left out, and the remedy."""
    needed = {contender.engine.library for contender in contenders}
    lacking = {library for library in needed if importlib.util.find_spec(library) is None}
    for library in sorted(lacking):
        names = ", ".join(c.name for c in contenders if c.engine.library == library)
        print(
            f"{library} is not installed, which leaves out {names}: pip install 'inlay[compat]'",
            file=sys.stderr,
        )
    return [contender for contender in contenders if contender.engine.library not in lacking]


def version(library: str) -> str:
    """Return the installed version of a library, "?" where it is not recorded."""
    try:
        return importlib.metadata.version(DISTRIBUTION[library])
    except importlib.metadata.PackageNotFoundError:
        return "?"
