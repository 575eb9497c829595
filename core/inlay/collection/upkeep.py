"""When a store should do more than was asked of it, and how its index is saved.

    snapshot          what opening would have to make up for has become long
    compaction        a quarter of the vectors are of removed documents

A snapshot is a plain index file. The database has its name, length and checksum; one that is missing, damaged
or not the one that was written is ignored. Row numbers are never used twice and a row's vector never changes,
so any snapshot of the collection is brought up to date by removing the rows that are gone and adding those
that are new.
"""

import contextlib
import re
from collections.abc import Container
from dataclasses import replace
from pathlib import Path

from ..contents import FormatError
from ..indexes import Index, load
from . import choice, disk
from .records import State

_WASTE = 4  # a compaction is due when one slot in so many is of a removed document
_WASTE_ROWS = 1000  # and so many are
_TAIL_ROWS = 50_000  # changes after which a snapshot is due, or if that is more
_TAIL = 4  # as many as one in so many documents: a bulk load then writes every byte five times at most
# In a graph: a row takes a hundred times as long to make up for, and to write six times is little of that.
_TAIL_ROWS_OF_GRAPH = 5_000
_TAIL_OF_GRAPH = 5
_TAIL_AT_CLOSE = 100  # at the end, one in so many

_SNAPSHOT = re.compile(r"index-(\d{1,18})-(\d{1,18})-(\d{1,18})\.inlay")


def vector_file(folder: Path, generation: int) -> Path:
    """Return the name of the vectors of a generation."""
    return folder / f"vectors-{generation}.f32"


def tidy(folder: Path, state: State) -> None:
    """Remove files of earlier generations, old snapshots, and what was never finished."""
    remove_files(folder, {vector_file(folder, state.generation).name, state.snapshot})


def remove_files(folder: Path, current: Container[str | None] = ()) -> None:
    """Remove vectors, snapshots, and what was never finished, but for the current ones."""
    for pattern in ("vectors-*.f32", "index-*.inlay", ".inlay-*.tmp*"):
        for file in folder.glob(pattern):
            if file.name not in current:
                with contextlib.suppress(OSError):  # another time, then
                    file.unlink()


def is_wasteful(state: State) -> bool:
    """Tell whether a compaction is due."""
    return state.removed >= _WASTE_ROWS and state.removed * _WASTE >= state.n_slots


# Snapshots


def is_tail_long(state: State, index: Index, *, closing: bool = False) -> bool:
    """Tell whether a snapshot is due."""
    changes = _tail(state)
    if closing:
        return changes * _TAIL_AT_CLOSE > state.n_live
    if choice.is_graph(index):
        return changes > max(_TAIL_ROWS_OF_GRAPH, state.n_live // _TAIL_OF_GRAPH)
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
    generation, next_row, removed, _ = state.version  # the index knows nothing of metadata
    return f"index-{generation}-{next_row}-{removed}.inlay"


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
    return index if choice.suits(state, index) else None
