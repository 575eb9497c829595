"""Shards beside one collection: throughput in batches, latency one by one, and the part of the engine.

    python -m compat.sharded --base rows.npy --queries queries.npy
    python -m compat.sharded --rows 20000

One run on one machine, a Ray of its own on the loopback address: a collection in this process, one shard, and
two shards with one thread each. From the latencies of one shard it says what `compat.fanout` expects of two.
"""

import argparse
import functools
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Ray's switch for the loopback address; it reads this when it is imported.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

import numpy as np
import ray

import inlay
from compat.fanout import latencies
from inlay.adapters.ray import ShardedCollection

K = 10
ONE_BY_ONE = 300


def timed(call: Callable[[], object]) -> float:
    """Return the milliseconds that a call takes."""
    began = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - began)


def measured(collection: Any, queries: Any, rounds: int) -> tuple[list[float], float]:
    """Return latencies one by one in ms, and queries a second in one batch; the best round of each."""
    some = queries[:ONE_BY_ONE]
    singly = [[timed(functools.partial(collection.search, q, K)) for q in some] for _ in range(rounds)]
    whole = min(timed(lambda: collection.search_batch(queries, K)) for _ in range(rounds))
    return min(singly, key=np.median), 1e3 * len(queries) / whole


def loaded(name: str, collection: Any, rows: Any) -> Any:
    """Load a collection, and say how fast that was."""
    ids = [f"id{i}" for i in range(len(rows))]
    texts = [f"the text of document {i}" for i in range(len(rows))]
    took = timed(lambda: collection.upsert(rows, ids=ids, texts=texts, progress=False))
    print(f"{name}: loaded in {took / 1e3:.1f} s, {1e3 * len(rows) / took:,.0f} documents a second")
    return collection


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, help="float32 rows, .npy")
    parser.add_argument("--queries", type=Path, help="float32 rows, .npy")
    parser.add_argument("--rows", type=int, default=20_000, help="as many of them, or random ones without")
    parser.add_argument("--index", default="LVQ4x8")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(given.rows, 384)) if given.base is None else np.load(given.base)[: given.rows]
    queries = rng.normal(size=(1000, 384)) if given.queries is None else np.load(given.queries)[:1000]
    inlay.set_num_threads(2)
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        options: dict[str, Any] = {"index": given.index, "cpus": 0.1}
        all_of_them = {
            "one collection": inlay.Collection.open(home / "local", index=given.index),
            "1 shard": ShardedCollection.open(home / "one", shards=1, threads=2, **options),
            "2 shards": ShardedCollection.open(home / "two", shards=2, threads=1, **options),
        }
        for name, collection in all_of_them.items():
            loaded(name, collection, rows)
        found = {name: measured(one, queries, given.rounds) for name, one in all_of_them.items()}
        actor = all_of_them["1 shard"]._calls.handles[0][0]
        empty = np.median([timed(lambda: ray.get(actor.pid.remote())) for _ in range(1000)])
        print(f"an empty call of the engine: {empty:.2f} ms")
        for name, (singly, a_second) in found.items():
            quantiles = ", ".join(f"{value:.2f}" for value in np.percentile(singly, (50, 90, 99)))
            print(f"{name}: one by one {quantiles} ms (50, 90, 99 of 100)")
            print(f"{name}: {a_second:,.0f} queries a second in a batch")
        overhead = float(np.median(found["1 shard"][0]) - np.median(found["one collection"][0]))
        print(f"a shard's question beside one collection's: {overhead:+.2f} ms")
        service = np.maximum(np.array(found["1 shard"][0]) - empty, 0.0)
        expected = latencies(service, shards=2, overhead=float(empty), cores=2)
        quantiles = ", ".join(f"{value:.2f}" for value in np.percentile(expected, (50, 90, 99)))
        print(f"2 shards, as simulated from 1: {quantiles} ms")
        for collection in all_of_them.values():
            collection.close()
    ray.shutdown()


if __name__ == "__main__":
    main()
