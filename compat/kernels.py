"""Nanoseconds per distance of every kernel, at every CPU level, against the scalar one and against memory.

    python -m compat.kernels [--dims 128 384 768] [--rounds 15] [--only codes4]

Each kernel runs twice: over rows that stay in a core's own cache, where arithmetic is the limit, and over
more rows than the caches hold, where the bytes it has to read are. That limit is measured too: the fastest
plain reading of as much memory. Levels take turns round after round; each keeps its best round.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from compat.figures import machine
from compat.tables import table

CACHE_BYTES = 512 << 10  # half of the second-level cache of a server core of today
MEMORY_BYTES = 192 << 20  # several times a third-level cache
CHUNK_BYTES = 2 << 20  # per call on large data: results stay small, and the call itself weighs nothing
LEVEL_SECONDS = 0.4  # a level that has used this much gets no further round: it is the slow one
FEWEST_ROWS = 16  # codes are packed by sixteen rows
SEED = 20_240_611

Call = Callable[[int, int, str], None]  # first row, end row, level


@dataclass(frozen=True)
class Kernel:
    """A kernel to be timed.

    Attributes
    ----------
    name : str
    n_queries : int
        Queries per call; a distance is one query against one row.
    row_bytes : callable
        Bytes read per row, from the dimensions.
    prepare : callable
        Makes so many rows (a multiple of 16) of so many dimensions and its queries; returns the call.
    """

    name: str
    n_queries: int
    row_bytes: Callable[[int], int]
    prepare: Callable[[int, int], Call]


@dataclass
class Timing:
    """The best round of a kernel at a level, its best smallest call, and the time spent; nanoseconds."""

    best: float = float("inf")
    call: float = float("inf")
    spent: float = 0.0


# --- the kernels -----------------------------------------------------------------------------------------


def _float32(metric: str, n_queries: int, rows: int, dim: int) -> Call:
    from inlay.kernels import table as kernels

    random = np.random.default_rng(SEED)
    base = random.random((rows, dim), dtype=np.float32)
    queries = random.random((n_queries, dim), dtype=np.float32)

    def call(first: int, end: int, level: str) -> None:
        kernels.scores(queries, base[first:end], metric, level)

    return call


def _codes(bits: int, n_queries: int, rows: int, dim: int) -> Call:
    from inlay.kernels import table as kernels

    random = np.random.default_rng(SEED)
    shape = kernels.pack(np.zeros((16, dim), np.uint8), bits).shape[1:]
    blocks = random.integers(0, 256, (rows // 16, *shape), dtype=np.uint8)
    queries = random.integers(-127, 128, (n_queries, dim), dtype=np.int8)

    def call(first: int, end: int, level: str) -> None:
        kernels.dots(blocks[first // 16 : end // 16], queries, bits, level)

    return call


def _estimate(rows: int, dim: int) -> Call:
    from inlay.kernels import table as kernels

    random = np.random.default_rng(SEED)
    products = random.integers(-(10**6), 10**6, rows, dtype=np.int32)
    steps, lows, norms = random.random((3, rows), dtype=np.float32)
    offsets = np.zeros(1, np.float32)

    def call(first: int, end: int, level: str) -> None:
        part = slice(first, end)
        kernels.estimate(
            products[part], steps[part], lows[part], norms[part], None, 0.01, 1.0, offsets, level
        )

    return call


def _top_k(rows: int, dim: int) -> Call:
    from inlay.kernels import table as kernels

    values = np.random.default_rng(SEED).random(rows, dtype=np.float32)

    def call(first: int, end: int, level: str) -> None:
        kernels.top_k(values[first:end], 10, level=level)

    return call


def _padded_code_bytes(bits: int, dim: int) -> int:
    per_line = 32 // bits  # dimensions of sixteen rows that share a line of 64 bytes
    return -(-dim // per_line) * 4


KERNELS: tuple[Kernel, ...] = (
    Kernel("float32-l2", 1, lambda dim: 4 * dim, partial(_float32, "l2", 1)),
    Kernel("float32-ip", 1, lambda dim: 4 * dim, partial(_float32, "ip", 1)),
    Kernel("float32-l2-x8", 8, lambda dim: 4 * dim, partial(_float32, "l2", 8)),
    Kernel("codes4", 1, partial(_padded_code_bytes, 4), partial(_codes, 4, 1)),
    Kernel("codes4-x8", 8, partial(_padded_code_bytes, 4), partial(_codes, 4, 8)),
    Kernel("codes8", 1, partial(_padded_code_bytes, 8), partial(_codes, 8, 1)),
    Kernel("codes8-x8", 8, partial(_padded_code_bytes, 8), partial(_codes, 8, 8)),
    Kernel("estimate", 1, lambda dim: 16, _estimate),
    Kernel("top10", 1, lambda dim: 4, _top_k),
)
PER_ROW = ("estimate", "top10")  # these see one number per row, whatever the dimensions


# --- timing ----------------------------------------------------------------------------------------------


def bandwidth(nbytes: int, rounds: int) -> float:
    """Return bytes per nanosecond at which one thread reads so much memory, the best of the rounds."""
    words: npt.NDArray[np.uint64] = np.ones(nbytes // 8, np.uint64)

    def read(first: int, end: int, level: str) -> None:
        words[first:end].max()  # of NumPy's reductions the one that waits for memory and nothing else

    best = min(_elapsed(read, [(0, len(words))], "") for _ in range(2 * rounds))
    call = min(_elapsed(read, [(0, FEWEST_ROWS)], "") for _ in range(2 * rounds))
    return words.nbytes / (best - call)


def nanoseconds(
    kernel: Kernel, dim: int, nbytes: int, levels: Sequence[str], rounds: int
) -> dict[str, float]:
    """Return the nanoseconds per distance of a kernel over so many bytes of rows, for every level."""
    row_bytes = kernel.row_bytes(dim)
    rows, chunk = (
        max(2 * FEWEST_ROWS, size // row_bytes // FEWEST_ROWS * FEWEST_ROWS)
        for size in (nbytes, min(nbytes, CHUNK_BYTES))
    )
    call = kernel.prepare(rows, dim)
    # Small data is gone through again and again, so that a timer's grain does not show.
    parts = [(first, min(first + chunk, rows)) for first in range(0, rows, chunk)]
    parts *= max(1, CHUNK_BYTES // nbytes)
    timings = {level: Timing() for level in levels}
    for turn in range(rounds):
        for level in levels if turn % 2 == 0 else reversed(levels):
            timing = timings[level]
            if timing.spent > LEVEL_SECONDS * 1e9:
                continue
            taken = _elapsed(call, parts, level)
            timing.best = min(timing.best, taken)
            timing.call = min(timing.call, _elapsed(call, [(0, FEWEST_ROWS)] * 20, level) / 20)
            timing.spent += taken
    # What checking and allocating cost shows in a call of the fewest rows, and is taken off.
    distances = kernel.n_queries * sum(end - first - FEWEST_ROWS for first, end in parts)
    return {level: (timing.best - len(parts) * timing.call) / distances for level, timing in timings.items()}


def _elapsed(call: Call, parts: Sequence[tuple[int, int]], level: str) -> int:
    start = time.perf_counter_ns()
    for first, end in parts:
        call(first, end, level)
    return time.perf_counter_ns() - start


def measure(kernels: Sequence[Kernel], dims: Sequence[int], rounds: int) -> str:
    """Time the kernels and return the table."""
    from inlay.kernels import table as compiled

    levels = compiled.levels()
    reading = bandwidth(MEMORY_BYTES, rounds)
    places = {CACHE_BYTES: "cache", MEMORY_BYTES: "memory"}
    work = [
        (kernel, dim, size)
        for kernel in kernels
        for dim in (dims[:1] if kernel.name in PER_ROW else dims)
        for size in places
    ]
    rows = []
    for kernel, dim, size in tqdm(work, unit="kernel"):
        found = nanoseconds(kernel, dim, size, levels, rounds)
        limit = kernel.row_bytes(dim) / reading / kernel.n_queries
        in_memory = (f"{limit:.2f}", f"{limit / min(found.values()):.0%}")
        rows.append(
            (
                kernel.name,
                "-" if kernel.name in PER_ROW else str(dim),
                places[size],
                *(f"{found[level]:.2f} ({found['scalar'] / found[level]:.1f}x)" for level in levels),
                *(in_memory if size == MEMORY_BYTES else ("-", "-")),
            )
        )
    head = ("ns per distance (x scalar)", "dim", "rows in", *levels, "reading alone", "of that limit")
    return f"# {machine()}; one thread reads {reading:.1f} GB/s from memory\n\n{table(head, rows, 3)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    names = ", ".join(kernel.name for kernel in KERNELS)
    parser = argparse.ArgumentParser(
        prog="python -m compat.kernels",
        description=__doc__,
        epilog=f"kernels: {names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dims", type=int, nargs="+", default=[128, 384, 768], help="default: 128 384 768")
    parser.add_argument("--rounds", type=int, default=15, help="the best of so many (default 15)")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="NAME", help="names or patterns")
    given: Any = parser.parse_args(arguments)
    if min(given.dims) < 1 or given.rounds < 1:
        parser.error("--dims and --rounds must be at least 1")
    chosen = [kernel for kernel in KERNELS if any(fnmatch(kernel.name, pattern) for pattern in given.only)]
    if not chosen:
        parser.error(f"no kernel matches {' '.join(given.only)}; there are {names}")
    print(measure(chosen, given.dims, given.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
