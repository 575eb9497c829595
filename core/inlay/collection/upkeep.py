"""When a store should do more than was asked of it, and how its index is chosen, taught and saved.

    built again       an "auto" collection has outgrown the exact index
    snapshot          what opening would have to make up for has become long
    compaction        a quarter of the vectors are of removed documents

A snapshot is a plain index file. The database has its name, length and checksum; one that is missing, damaged
or not the one that was written is ignored. Row numbers are never used twice and a row's vector never changes,
so any snapshot of the collection is brought up to date by removing the rows that are gone and adding those
that are new.
"""

import contextlib
import functools
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ..contents import FormatError
from ..indexes import Index, from_spec, load
from . import disk
from .records import State
from .vectors import I64

EXACT = "Flat"  # the index whose candidates need no second look
AUTO = "auto"  # EXACT while small, then LARGE:
# At 8 bits the candidates that are scored again hold the true nearest. 4 bits take two thirds of the time and
# do as well on sentences and images, but in 200 tight clusters (384 dimensions) they found 58 %, 8 bits all.
LARGE = "LVQ8"
_SMALL = 10_000  # rows that an exact scan takes less than a millisecond for
_NARROW = 16  # dimensions below which codes save next to nothing

_SAMPLE = 10_000  # rows to learn from; more would not change what is learned
_WASTE = 4  # a compaction is due when one slot in so many is of a removed document
_WASTE_ROWS = 1000  # and so many are
_TAIL_ROWS = 50_000  # changes after which a snapshot is due, or if that is more
_TAIL = 4  # as many as one in so many documents: a bulk load then writes every byte five times at most
_TAIL_AT_CLOSE = 100  # at the end, one in so many

_SNAPSHOT = re.compile(r"index-(\d{1,18})-(\d{1,18})-(\d{1,18})\.inlay")


def vector_file(folder: Path, generation: int) -> Path:
    """Return the name of the vectors of a generation."""
    return folder / f"vectors-{generation}.f32"


def tidy(folder: Path, state: State) -> None:
    """Remove files of earlier generations, old snapshots, and what was never finished."""
    current = {vector_file(folder, state.generation).name, state.snapshot}
    for pattern in ("vectors-*.f32", "index-*.inlay", ".inlay-*.tmp*"):
        for file in folder.glob(pattern):
            if file.name not in current:
                with contextlib.suppress(OSError):  # another time, then
                    file.unlink()


# Choosing and teaching


def new_index(state: State, n_rows: int) -> Index:
    """Return an empty index of the kind that suits so many rows."""
    assert state.dim is not None
    spec = _chosen(state, n_rows)
    try:
        return from_spec(spec, state.dim, state.metric)
    except ValueError as error:  # it was tried before the collection was made
        raise FormatError(f"the collection has the index {spec!r:.80}, unknown here: {error}") from None


def _chosen(state: State, n_rows: int) -> str:
    assert state.dim is not None
    if state.spec != AUTO:
        return state.spec
    return EXACT if n_rows <= _SMALL or state.dim < _NARROW else LARGE


def check_effort(state: State, index: Index, names: Iterable[str]) -> None:
    """Raise TypeError for efforts that the index does not know, nor the one that "auto" will turn to."""
    known = set(index.EFFORT) | (_large_effort() if state.spec == AUTO else set())
    unknown = sorted(set(names) - known)
    if unknown:
        has = f"it knows {', '.join(sorted(known))}" if known else "it has none"
        raise TypeError(f"an {index.spec} index has no effort {', '.join(unknown)}; {has}")


@functools.cache
def _large_effort() -> set[str]:
    return set(from_spec(LARGE, _NARROW).EFFORT)


def sample(rows: I64) -> I64:
    """Return rows to learn from, evenly spread over all."""
    return rows[:: max(1, -(-len(rows) // _SAMPLE))]


def is_outgrown(state: State, index: Index) -> bool:
    """Tell whether an "auto" collection needs another index than it has."""
    return state.spec == AUTO and index.spec == EXACT != _chosen(state, state.n_live)


def is_wasteful(state: State) -> bool:
    """Tell whether a compaction is due."""
    return state.removed >= _WASTE_ROWS and state.removed * _WASTE >= state.n_slots


# Snapshots


def is_tail_long(state: State, *, closing: bool = False) -> bool:
    """Tell whether a snapshot is due."""
    changes = _tail(state)
    if closing:
        return changes * _TAIL_AT_CLOSE > state.n_live
    return changes > max(_TAIL_ROWS, state.n_live // _TAIL)


def is_saved(state: State) -> bool:
    """Tell whether there is a snapshot of just this state."""
    return state.snapshot == _snapshot_name(state)


def _tail(state: State) -> int:
    """Return how many rows were added and removed since the last snapshot."""
    found = _SNAPSHOT.fullmatch(state.snapshot or "")
    if found is None:
        return state.n_live
    generation, next_row, removed = map(int, found.groups())
    if generation != state.generation:
        removed = 0
    return state.next_row - next_row + state.removed - removed


def _snapshot_name(state: State) -> str:
    return f"index-{'-'.join(map(str, state.version))}.inlay"


def save_snapshot(folder: Path, state: State, index: Index) -> State:
    """Write the index to a file, durably, and return the state that knows of it."""
    name = _snapshot_name(state)
    index.save(folder / name)
    size, crc = disk.checksum(folder / name)
    return replace(state, snapshot=name, snapshot_bytes=size, snapshot_crc=crc)


def load_snapshot(folder: Path, state: State) -> Index | None:
    """Return the saved index, None if there is none that can be trusted."""
    if state.snapshot is None or _SNAPSHOT.fullmatch(state.snapshot) is None:
        return None
    file = folder / state.snapshot
    try:
        if disk.checksum(file) != (state.snapshot_bytes, state.snapshot_crc):
            return None
        index = load(file)
    except (OSError, FormatError):
        return None
    asked = (EXACT, LARGE) if state.spec == AUTO else (new_index(state, 0).spec,)
    return index if (index.dim, index.metric) == (state.dim, state.metric) and index.spec in asked else None
