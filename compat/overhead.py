"""What one call costs: a search so small that the call itself is most of it.

    python -m compat.overhead [--dims 32 128 384] [--rows 1000]

One query, ten neighbours, one thread, in one process. Every contender runs a few hundred calls, then the next
one does, round after round; a round gives the median of its calls and the best round counts.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from compat.contenders import CONTENDERS, Contender, Engine, present, select
from compat.data import Floats, clustered
from compat.figures import machine
from compat.tables import table

WHO = ("inlay-Flat", "inlay-LVQ8", "inlay-LVQ4x8", "faiss-Flat", "faiss-SQ8")
K = 10
QUERIES = 64  # taken in turn: a query asked again at once would be a cache's case, not a caller's
SEED = 20_240_611


def build(contender: Contender, rows: Floats) -> Engine:
    """Return a contender's index of the rows, with its library's own search settings and one thread."""
    engine = contender.make(rows.shape[1], "l2")
    engine.build(rows, 1)
    engine.apply({}, 1)
    return engine


def median_call(engine: Engine, queries: Sequence[Floats], calls: int) -> float:
    """Return the median nanoseconds of so many calls of one query each."""
    taken = []
    for number in range(calls):
        query = queries[number % len(queries)]
        start = time.perf_counter_ns()
        engine.search(query, K)
        taken.append(time.perf_counter_ns() - start)
    return statistics.median(taken)


def best_medians(
    engines: Sequence[Engine], queries: Sequence[Floats], rounds: int, calls: int
) -> list[float]:
    """Return the best round of every engine, in nanoseconds, the engines taking turns."""
    best = [float("inf")] * len(engines)
    for _ in range(rounds):
        for number, engine in enumerate(engines):
            engine.search(queries[-1], K)  # back into the caches after the others
            best[number] = min(best[number], median_call(engine, queries, calls))
    return best


def measure(
    contenders: Sequence[Contender], dims: Sequence[int], n_rows: int, rounds: int, calls: int
) -> str:
    """Measure all contenders at all dimensions and return the table."""
    columns = []
    for dim in tqdm(dims, unit="dim"):
        source = clustered(n_rows, dim, QUERIES, SEED)
        queries = [source.queries[number : number + 1] for number in range(QUERIES)]
        engines = [build(contender, source.base) for contender in contenders]
        columns.append(best_medians(engines, queries, rounds, calls))
    baselines = [number for number, contender in enumerate(contenders) if contender.is_baseline]
    rows = [
        (contender.name, *(_against(column, number, baselines) for column in columns))
        for number, contender in enumerate(contenders)
    ]
    head = ("us per call (x fastest baseline)", *(f"dim {dim}" for dim in dims))
    return f"# {n_rows:,} rows, one query, k = {K}, one thread, {machine()}\n\n{table(head, rows)}"


def _against(column: Sequence[float], number: int, baselines: Sequence[int]) -> str:
    text = f"{column[number] / 1000:.2f}"
    if not baselines:
        return text
    return f"{text} ({column[number] / min(column[other] for other in baselines):.2f}x)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m compat.overhead",
        description=__doc__,
        epilog="contenders: " + ", ".join(contender.name for contender in CONTENDERS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dims", type=int, nargs="+", default=[32, 128, 384], help="default: 32 128 384")
    parser.add_argument("--rows", type=int, default=1000, help="rows in the index (default 1000)")
    parser.add_argument("--rounds", type=int, default=25, help="rounds, the best counts (default 25)")
    parser.add_argument("--calls", type=int, default=300, help="calls per round (default 300)")
    parser.add_argument(
        "--only", nargs="+", default=list(WHO), metavar="NAME", help=f"default: {' '.join(WHO)}"
    )
    given: Any = parser.parse_args(arguments)
    if min(*given.dims, given.rounds, given.calls) < 1 or given.rows < K:
        parser.error(f"--dims, --rounds and --calls must be at least 1, --rows at least {K}")
    try:
        contenders = present(select(given.only))
    except ValueError as error:
        parser.error(str(error))
    print(measure(contenders, given.dims, given.rows, given.rounds, given.calls))
    return 0


if __name__ == "__main__":
    sys.exit(main())
