"""What a sharded collection costs, and how long its answers take: a model in figures that were measured.

    python -m compat.fanout                    the table of costs
    python -m compat.fanout --service 2.0 --overhead 1.0 --rate 100

A question goes to one replica of every shard and is answered when the last of them has answered, so its
latency is the overhead of the engine and the *slowest* of S service times, waiting included. `latencies`
simulates that, query by query: arrivals at random, replicas in turn, each with a queue. `compat.sharded`
compares it with what it measures.
"""

import argparse
import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


def latencies(
    service: F64,
    *,
    shards: int,
    replicas: int = 1,
    rate: float | None = None,
    overhead: float = 0.0,
    cores: int | None = None,
    queries: int = 20_000,
    seed: int = 0,
) -> F64:
    """Return simulated latencies.

    Parameters
    ----------
    service : float64 array
        Measured times of one shard for one query, which are drawn from.
    shards, replicas : int
    rate : float, optional
        Queries per unit of time, at random; by default one begins when the one before has ended.
    overhead : float
        Of the engine, for each query.
    cores : int, optional
        As many replicas as can work at the same time; by default all.
    queries : int
    seed : int

    Returns
    -------
    float64 array (queries,)
        In the unit of `service`.
    """
    rng = np.random.default_rng(seed)
    times = rng.choice(service, (queries, shards))
    arrivals = None if rate is None else np.cumsum(rng.exponential(1 / rate, queries))
    free = np.zeros((shards, replicas))
    working = [0.0] * (cores or shards * replicas)  # when each core is free
    now, took = 0.0, np.empty(queries)
    for i in range(queries):
        now = now if arrivals is None else float(arrivals[i])
        ends = []
        for shard in range(shards):
            core = heapq.heappop(working)
            end = max(now, core, float(free[shard, i % replicas])) + float(times[i, shard])
            free[shard, i % replicas] = end
            heapq.heappush(working, end)
            ends.append(end)
        took[i] = max(ends) - now + overhead
        now += took[i]
    return took


@dataclass(frozen=True)
class Family:
    """What a vector takes in an index; bytes are `per_dim` times the dimensions and a constant.

    Measured with 100,000 sentences of 384 dimensions on two cores of a Zen 4; see the README.
    """

    spec: str
    hot: tuple[float, float]  # bytes per dimension and besides that every search may touch
    cold: tuple[float, float]
    build: float  # microseconds a vector of 384 dimensions and one core, with 100,000 of them
    query: float  # microseconds a query of 384 dimensions, with 100,000 vectors, at a recall of 0.99
    scans: bool  # whether both grow with the vectors; else with their logarithm


FAMILIES = (
    Family("LVQ8", (1.0, 13), (0, 0), 1.2, 870, True),
    Family("LVQ4x8", (0.5, 13), (1.0, 0), 1.2, 370, True),
    Family("HNSW32,LVQ4x8", (0.5, 146), (1.0, 4), 112, 59, False),
    Family("QuIVer32", (0.25, 162), (2.0, 0), 116, 62, False),
)
RECORDS = 1200  # bytes of a document in SQLite: 1,000 of text, its metadata, and what finds them
MEMORY = 48e9  # hot bytes that a shard may have: a machine of 64 GB
MEASURED = 100_000


@dataclass(frozen=True)
class Cost:
    """What one collection costs, in bytes, seconds and milliseconds."""

    shards: int
    memory: float
    disk: float
    build: float
    median: float
    tail: float


def cost(
    family: Family, n: int, dim: int, *, replicas: int = 1, cores: int = 8, overhead: float = 3.0
) -> Cost:
    """Return what n vectors cost, in as many shards as memory takes.

    Memory is for each replica. A shard is built by `cores` cores, all shards together.
    """
    hot, cold = (n * (per_dim * dim + besides) for per_dim, besides in (family.hot, family.cold))
    shards = max(1, int(np.ceil(hot / MEMORY)))
    each = n / shards
    steps = np.log(max(each, 2)) / np.log(MEASURED)
    build = each * family.build * (1.0 if family.scans else steps) * dim / 384 / cores / 1e6
    grows = each / MEASURED if family.scans else steps
    service = family.query * grows * dim / 384 / 1e3
    # As the times of one shard vary: a tenth of the queries take half as long again, one in a hundred thrice.
    drawn = service * np.repeat([0.9, 1.0, 1.5, 3.0], [45, 44, 10, 1])
    found = latencies(drawn, shards=shards, overhead=overhead, queries=4000)
    # Vectors lie on the disk beside the index's snapshot; codes that are cold are mapped from it.
    disk = n * (4 * dim + 8 + RECORDS) + hot + cold
    return Cost(shards, replicas * hot, disk, build, float(np.median(found)), float(np.percentile(found, 99)))


def table(sizes: Sequence[int], dims: Sequence[int]) -> list[str]:
    """Return the lines of the table of costs."""
    lines = [
        "| vectors | d | index | shards | memory a replica, all | disk | build | median | 99 of 100 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for n in sizes:
        for dim in dims:
            for family in FAMILIES:
                found = cost(family, n, dim)
                lines.append(
                    f"| {n / 1e6:,.0f} M | {dim} | `{family.spec}` | {found.shards} "
                    f"| {found.memory / 1e9:,.1f} GB "
                    f"| {found.disk / 1e9:,.0f} GB | {found.build / 60:,.1f} min | {found.median:,.1f} ms "
                    f"| {found.tail:,.1f} ms |"
                )
    return lines


def main() -> None:
    """Print the table, or one simulation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--service", type=float, help="mean service time of a shard, in ms, exponential")
    parser.add_argument("--overhead", type=float, default=3.0, help="of the engine, in ms")
    parser.add_argument("--rate", type=float, help="queries a second; one after the other without")
    given = parser.parse_args()
    if given.service is None:
        print("\n".join(table((10**6, 10**8, 10**9), (384, 1024))))
        return
    service = np.random.default_rng(0).exponential(given.service, 10_000)
    rate = None if given.rate is None else given.rate / 1e3
    print("shards x replicas: median, 99 of 100, 999 of 1000, in ms")
    for shards in (1, 2, 4, 8, 16, 64):
        for replicas in (1, 2, 3):
            took = latencies(service, shards=shards, replicas=replicas, rate=rate, overhead=given.overhead)
            shown = ", ".join(f"{value:.1f}" for value in np.percentile(took, (50, 99, 99.9)))
            print(f"{shards:3} x {replicas}: {shown}")


if __name__ == "__main__":
    main()
