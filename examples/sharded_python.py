"""A collection over several processes: load real text, kill a worker under load, and go on.

Starts a Ray of its own on the loopback address, spreads the documentation of the Python you have over two
shards of two replicas each, and asks questions without pause while a worker is killed and Ray starts it
again. Then the collection grows to three shards, still answering.

    pip install 'inlay[ray,examples]'
    python examples/sharded_python.py
    python examples/sharded_python.py --limit 500 --kills 3
"""

import argparse
import logging
import os
import random
import signal
import tempfile
import threading
import time
from pathlib import Path

# Ray's switch for the loopback address; it reads this when it is imported.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

import ray
from sklearn.feature_extraction.text import HashingVectorizer

from ask_python import read_passages
from inlay.adapters.ray import ShardedCollection

QUESTIONS = ["cache the results of a function", "make a temporary directory", "split text at white space"]


def is_whole(collection: ShardedCollection) -> bool:
    """Tell whether every replica is there."""
    return all(process is not None for replicas in collection.processes().values() for process in replicas)


def main() -> None:
    """Load, ask, kill, grow."""
    parser = argparse.ArgumentParser(description="A collection over several processes.")
    parser.add_argument("--limit", type=int, default=2000, help="passages to read (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=1, help="workers to kill (default: %(default)s)")
    args = parser.parse_args()
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    passages = read_passages(args.limit)
    texts = [passage.page_content for passage in passages]
    embed = HashingVectorizer(n_features=256, stop_words="english").transform
    home = tempfile.TemporaryDirectory()
    with home, ShardedCollection.open(Path(home.name) / "c", shards=2, replicas=2, cpus=0.1) as collection:
        collection.upsert(
            embed(texts).toarray(),
            ids=[str(passage.id) for passage in passages],
            texts=texts,
            metadatas=[passage.metadata for passage in passages],
        )
        print(collection)
        vectors = embed(QUESTIONS).toarray()
        expected = collection.search_batch(vectors, 3)
        answers: list[bool] = []
        done = threading.Event()

        def ask() -> None:
            while not done.is_set():
                answers.append(collection.search_batch(vectors, 3) == expected)

        asking = threading.Thread(target=ask)
        asking.start()
        for _ in range(args.kills):
            processes = [process for replicas in collection.processes().values() for process in replicas]
            victim = random.choice([process for process in processes if process is not None])
            os.kill(victim, signal.SIGKILL)
            began = time.monotonic()
            while not is_whole(collection):
                time.sleep(0.05)
            print(f"killed worker {victim}: all are there again after {time.monotonic() - began:.1f} s")
        collection.reshard(3)
        done.set()
        asking.join()
        print(
            f"asked {len(answers):,} times meanwhile: {answers.count(False)} answers were other than before"
        )
        for question, hits in zip(QUESTIONS, expected, strict=True):
            print(f"{question}: {', '.join(hit.metadata['name'] for hit in hits)}")
    ray.shutdown()


if __name__ == "__main__":
    main()
