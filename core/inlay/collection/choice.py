"""Which index an "auto" collection has: by its size, and beyond that by what a graph finds in its rows.

    exact     Flat                           while all floats are read in a fraction of a millisecond
    scan      LVQ8                           while all codes are
    graph     the first of GRAPHS that suits; if none does the scan stays, until the collection has doubled

A scan takes as long as the values it reads, rows x dimensions; a walk hardly longer for more rows, but adding
one costs it fifty to a hundred times as much. Microseconds for one query on one thread of a Zen 4: sentence
embeddings, 384 dimensions, 40 candidates, which hold 0.995 of the ten nearest and more.

    rows            1,000    5,000   10,000   20,000   50,000  100,000      microseconds to add a row
    Flat               33      105      231      702             5,000         1
    LVQ8               27       54       80      131      374    1,036         1
    QuIVer32           41       67       78       86      138      127        45 .. 87
    HNSW32,LVQ8        43       68       79       88      129      138        45 .. 148

SymQG32 answers in half of that and is not among them: it keeps four to nine times as many bytes in memory and
takes four to six times as long to add a row, for 60 us of the 300 that a search takes with its documents. A
collection has it by `index="SymQG32"`.

IVF512,LVQ8 is not among them either: of 100,000 sentences it reads a sixteenth for 0.95, but a quarter for
0.99, which takes as long as the scan, where a walk takes an eighth of that.

No sample tells for sure whether a graph suits: in clusters two bits a dimension tell the rows of a sample
apart but not the many more of the whole, and among few rows without structure a walk finds most. So a sample
sorts out the hopeless, and a graph of all rows takes over only if it finds what the scan finds. Of the ten
nearest of 50,000 rows were found, on the sample, of the whole by rows of its own, and by new queries:

                                                QuIVer32                  HNSW32,LVQ8
    sentences                            0.998  0.999  0.998         0.999  1.000  0.995
    200 tight clusters, 384 dimensions   0.999  0.735  0.763         1.000  0.980  0.982
    Gaussian, 64 dimensions              0.893  0.870  0.829         0.994  0.947  0.905
    Gaussian, 384 dimensions             0.909  0.673  0.626         0.955  0.701  0.636
"""

import functools
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..contents import FormatError
from ..indexes import Index, from_spec
from ..indexes.listed import ListedIndex
from ..indexes.navigable import NavigableIndex
from .records import State
from .vectors import F32, I64

logger = logging.getLogger("inlay")

AUTO = "auto"
EXACT = "Flat"  # the index whose candidates need no second look
# At 8 bits the candidates that are scored again hold the true nearest. 4 bits take two thirds of the time
# and do as well on sentences and images, but in 200 tight clusters (384 dimensions) they found 58 %, 8 bits
# all.
LARGE = "LVQ8"
# The first walks through less than half the bytes, but two bits a dimension do not tell all rows apart. The
# other has 8, as the scan.
GRAPHS = ("QuIVer32", "HNSW32,LVQ8")

# In values, rows x dimensions, which is what a scan's time goes with:
_EXACT = 4_000_000  # 10,000 rows of 384
# 52,000 rows of 384. A walk is faster from 10,000 on, but only here a search saves what two or three new rows
# cost; and the change that comes to it waits some seconds for the graph.
_SCANNED = 20_000_000
_NARROW = 16  # dimensions below which codes save next to nothing

_SAMPLE = 10_000  # rows to learn from; more would not change what is learned

# Rows that a graph's search keeps in view: 100,000 sentences give a recall of 0.997. With 80 it is 0.986 and
# 0.990, and takes 40 us less of the 300 that a search takes with its documents.
_EF = 160
# The lists that an IVF index reads by itself are one in sixteen, which a first doubling makes one in four: of
# 100,000 sentences they hold 0.95 and 0.99.
_LISTS = 8
# A graph is asked for the nearest of so many rows of its own, on a sample first and with less effort, as a
# walk among few rows is easy. Of 2,000 neighbours, one in a hundred is beyond chance.
_ASKED = 200
_NEAREST = 10
_TRIAL = 4096
_TRIAL_EF = 64
_TRIAL_SHARE = 0.99
_SHARE = 0.98


def new_index(state: State, n_rows: int) -> Index:
    """Return an empty index of the kind that suits so many rows; for "auto" one that is built at once."""
    assert state.dim is not None
    spec = state.spec
    if spec == AUTO:
        spec = EXACT if state.dim < _NARROW or n_rows * state.dim < _EXACT else LARGE
    try:
        return from_spec(spec, state.dim, state.metric)
    except ValueError as error:  # it was tried before the collection was made
        raise FormatError(f"the collection has the index {spec!r:.80}, unknown here: {error}") from None


def suits(state: State, index: Index) -> bool:
    """Tell whether an index may be that of the collection."""
    specs = (EXACT, LARGE, *GRAPHS) if state.spec == AUTO else (new_index(state, 0).spec,)
    return (index.dim, index.metric) == (state.dim, state.metric) and index.spec in specs


def is_outgrown(state: State, index: Index, n_rows: int, looked: int = 0) -> bool:
    """Tell whether an "auto" collection of so many rows needs another index than this.

    Parameters
    ----------
    state : State
    index : Index
    n_rows : int
    looked : int
        With how many rows scanning was found to be better than any graph. These are looked for whenever the
        collection has grown to so many values as are scanned, twice, four times as many, and so on.
    """
    if state.spec != AUTO or index.dim < _NARROW:
        return False
    if index.spec == EXACT:
        return n_rows * index.dim >= _EXACT
    return index.spec == LARGE and _doublings(n_rows * index.dim) > _doublings(looked * index.dim)


def _doublings(size: int) -> int:
    return (size // _SCANNED).bit_length()


def is_graph(index: Index) -> bool:
    """Tell whether a search of the index is a walk."""
    return isinstance(index, NavigableIndex)


# How hard to search


def candidates(k: int, level: int = 0) -> int:
    """Return how many rows of an index that is not exact are scored again for the k nearest."""
    return max(4 * k, 40) << level


def check_effort(state: State, index: Index, names: Iterable[str]) -> None:
    """Raise TypeError for efforts that neither the index knows nor any that "auto" turns to."""
    known = set(index.EFFORT) | (_auto_effort() if state.spec == AUTO else set())
    unknown = sorted(set(names) - known)
    if unknown:
        has = f"it knows {', '.join(sorted(known))}" if known else "it has none"
        raise TypeError(f"an {index.spec} index has no effort {', '.join(unknown)}; {has}")


@functools.cache
def _auto_effort() -> set[str]:
    return {name for spec in (LARGE, *GRAPHS) for name in from_spec(spec, _NARROW).EFFORT}


def effort(index: Index, k: int, given: Mapping[str, Any], level: int = 0) -> dict[str, Any]:
    """Return the efforts for a search for k rows: those that the index knows.

    Parameters
    ----------
    index : Index
    k : int
    given : mapping
        What the user asks for; goes before all else.
    level : int
        How often the effort was doubled for the sake of recall, see `watching`.
    """
    known = {name: value for name, value in given.items() if name in index.EFFORT}
    if is_graph(index):
        return {"ef": max(_EF << level, 2 * k), **known}
    if level and isinstance(index, ListedIndex):
        assert index.n_lists is not None
        return {"nprobe": max(1, (index.n_lists << level) // _LISTS), **known}
    return known


# Graphs that suit


def spread(rows: I64, n: int) -> I64:
    """Return at most n of the rows, evenly spread over all."""
    return rows[:: max(1, -(-len(rows) // n))]


def sample(rows: I64) -> I64:
    """Return rows to learn from."""
    return spread(rows, _SAMPLE)


def trial_sample(rows: I64) -> I64:
    """Return rows for `promising`."""
    return spread(rows, _TRIAL)


def asked(rows: I64) -> I64:
    """Return rows for `finds_enough`."""
    return spread(rows, _ASKED)


def promising(state: State, rows: F32) -> Iterator[Index]:
    """Yield the graphs that find their way among sample rows (n, dim): empty, but trained on them."""
    assert state.dim is not None
    exact = from_spec(EXACT, state.dim, state.metric)
    ids = exact.add(rows, progress=False)
    some = spread(ids, _ASKED)
    for spec in GRAPHS:
        graph = from_spec(spec, state.dim, state.metric)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # codes that tell rows apart badly: that shows below
            graph.train(rows, progress=False)
        graph.add(rows, ids, progress=False)
        share = _share_found(graph, exact, some, rows[some], _TRIAL_EF)
        logger.info("%s finds %.1f %% of the nearest among %d rows", spec, 100 * share, len(rows))
        if share >= _TRIAL_SHARE:
            graph.reset()
            yield graph


def finds_enough(graph: Index, scan: Index, ids: I64, rows: F32) -> bool:
    """Tell whether a graph answers as the scan of the same rows does, asked for what is near some of them."""
    share = _share_found(graph, scan, ids, rows, _EF)
    logger.info("%s finds %.1f %% of what %s finds in %d rows", graph.spec, 100 * share, scan.spec, len(scan))
    return share >= _SHARE


def _share_found(graph: Index, scan: Index, ids: I64, rows: F32, ef: int) -> float:
    """Return which part of the nearest of each row, itself aside, is among a graph's candidates."""
    _, near = scan.search(rows, 1 + _NEAREST)
    _, found = graph.search(rows, candidates(1 + _NEAREST), ef=ef)
    there = (near[:, :, None] == found[:, None, :]).any(axis=2)
    return float(there[near != ids[:, None]].mean())
