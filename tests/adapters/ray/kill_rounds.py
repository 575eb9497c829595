"""Kill random workers of a sharded collection under mixed load, and look for what it had acknowledged.

    python tests/adapters/ray/kill_rounds.py --kills 50

Threads write, delete and search without pause. Of each document it is known which versions were acknowledged
and which were under way, and every answer is held against that while it is given: none may be older than what
was acknowledged before the question, none newer than what was sent before the answer, none there twice. After
each kill, of a replica or of the keeper, it is measured how long it takes until all of them are back.
"""

import argparse
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests import ray_cluster  # before Ray

NAMES = 300
DIM = 8


def vector(version: int) -> Any:
    """Return the vector of a version: versions are never used twice, nor are vectors."""
    return np.random.default_rng(version).normal(size=DIM).astype(np.float32)


class Load:
    """Threads that write and search, each document by one thread, and a record of what they were told."""

    def __init__(self, collection: Any, writers: int, seed: int) -> None:
        self.collection = collection
        self.stop = threading.Event()
        self.acknowledged: dict[str, int | None] = {f"id{i}": None for i in range(NAMES)}
        self.sent = dict.fromkeys(self.acknowledged, 0)  # the newest version that may be there
        self.deletions = dict.fromkeys(self.acknowledged, 0)  # how many began and ended
        self.wrong: list[str] = []
        self.calls = {"changes": 0, "questions": 0, "late": 0}
        self._version = 0
        self._counting = threading.Lock()
        names = list(self.acknowledged)
        works = [lambda i=i: self._write(names[i::writers], seed + i) for i in range(writers)]
        self.threads = [threading.Thread(target=work) for work in (*works, lambda: self._look(seed + 99))]

    def _next(self, n: int) -> list[int]:
        with self._counting:
            self._version += n
            return list(range(self._version - n + 1, self._version + 1))

    def _write(self, names: list[str], seed: int) -> None:
        rng = random.Random(seed)
        while not self.stop.is_set():
            some = rng.sample(names, rng.randint(1, 20))
            if rng.random() < 0.2:
                for name in some:
                    self.deletions[name] += 1
                self._until_done(self.collection.delete, some)
                self.acknowledged.update(dict.fromkeys(some))
                for name in some:
                    self.deletions[name] += 1
            else:
                versions = self._next(len(some))
                self.sent.update(zip(some, versions, strict=True))
                self._until_done(
                    lambda some=some, versions=versions: self.collection.upsert(
                        [vector(version) for version in versions],
                        ids=some,
                        texts=[f"version {version}" for version in versions],
                        metadatas=[{"version": version} for version in versions],
                    )
                )
                self.acknowledged.update(zip(some, versions, strict=True))
            self.calls["changes"] += 1

    def _until_done(self, change: Any, *arguments: Any) -> None:
        """Make a change, again when nobody could say whether it happened."""
        while True:
            try:
                change(*arguments)
                return
            except TimeoutError:
                self.calls["late"] += 1

    def _look(self, seed: int) -> None:
        rng = random.Random(seed)
        while not self.stop.is_set():
            deletions = dict(self.deletions)
            before = dict(self.acknowledged)
            name = rng.choice(list(before))
            query = vector(before[name] or 0)
            asked = rng.choice(("search", "get", "text"))
            if asked == "search":
                found = self.collection.search(query, NAMES)
            elif asked == "get":
                found = self.collection.get()
            else:
                found = self.collection.search_text("version", NAMES)
            sent = dict(self.sent)
            self.check(found, before, sent)
            there = {one.id for one in found}
            for name, version in before.items():
                # Odd while it is being deleted, which may have happened without having been acknowledged.
                kept = deletions[name] % 2 == 0 and deletions[name] == self.deletions[name]
                if version is not None and name not in there and kept:
                    self.wrong.append(f"{name} was not found by {asked}")
            self.calls["questions"] += 1

    def check(self, found: Any, before: dict[str, int | None], sent: dict[str, int]) -> None:
        """Hold an answer against what was known before it was asked for and after it came."""
        versions = {one.id: one.metadata["version"] for one in found}
        if len(versions) < len(found):
            self.wrong.append("a document was there twice")
        for one in found:
            if one.text != f"version {one.metadata['version']}":
                self.wrong.append(f"{one.id} is in part of another version")
        for name, known in before.items():
            version = versions.get(name)
            if version is not None and version > sent[name]:
                self.wrong.append(f"{name} is newer than anything that was sent")
            if version is not None and known is not None and version < known:
                self.wrong.append(f"{name} is older than what was acknowledged")


def until_whole(collection: Any, keeper: Any) -> float:
    """Wait until all actors are there; return how long that took."""
    import ray

    began = time.monotonic()
    while True:
        try:
            ray.get(keeper.pid.remote(), timeout=1.0)
            found = collection.processes()
            if all(process is not None for replicas in found.values() for process in replicas):
                return time.monotonic() - began
        except (ray.exceptions.RayError, TimeoutError):
            pass
        time.sleep(0.02)


def rounds(
    collection: Any, keeper: Any, kills: int, seed: int, pause: float = 0.5
) -> tuple[Load, list[float]]:
    """Kill, wait, and again; return the load, ended, and the seconds until everything was there again."""
    import ray

    rng = random.Random(seed)
    load = Load(collection, writers=2, seed=seed)
    for thread in load.threads:
        thread.start()
    took = []
    try:
        for _ in range(kills):
            time.sleep(rng.uniform(0, pause))
            processes = [p for replicas in collection.processes().values() for p in replicas if p is not None]
            processes.append(ray.get(keeper.pid.remote()))
            os.kill(rng.choice(processes), signal.SIGKILL)
            took.append(until_whole(collection, keeper))
    finally:
        load.stop.set()
        for thread in load.threads:
            thread.join()
    there = {record.id: record for record in collection.get()}
    wanted = {name: version for name, version in load.acknowledged.items() if version is not None}
    found = {name: record.metadata["version"] for name, record in there.items()}
    if found != wanted:
        load.wrong.append("what is there is not what was acknowledged")
    for name, version in wanted.items():
        if not np.array_equal(collection.vectors([name])[0], vector(version)):
            load.wrong.append(f"{name} has another vector")
    return load, took


def main() -> None:
    """Run by hand."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        users = ray_cluster.join(Path(folder))
        import ray

        from inlay.adapters.ray import ShardedCollection

        with ShardedCollection.open(
            Path(folder) / "c",
            metric="l2",
            shards=given.shards,
            replicas=given.replicas,
            full_text=True,
            name="kills",
            cpus=0.01,
            deadline=120.0,
        ) as collection:
            load, took = rounds(collection, ray.get_actor("kills", "inlay"), given.kills, given.seed)
        ray_cluster.leave(users)
    print(f"{given.kills} kills, {given.shards} shards x {given.replicas}: {load.calls}")
    print(f"until all were back: median {statistics.median(took):.2f} s, longest {max(took):.2f} s")
    print("nothing lost, nothing wrong" if not load.wrong else f"WRONG: {load.wrong[:10]}")
    sys.exit(bool(load.wrong))


if __name__ == "__main__":
    main()
