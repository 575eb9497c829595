"""One process writes, others read: each answer is of one committed state.

Readers open the collection with `read_only=True`, as often and in as many processes as you like. They follow
what the writer commits without being told, and never see a change in part: the writer moves words between two
shelves, ten at a time, and every reader counts as many words as there are, whenever it looks. A second writer
is refused.

    pip install inlay
    python examples/many_processes.py
    python examples/many_processes.py --readers 4 --seconds 5
"""

import argparse
import multiprocessing
import tempfile
import time
from multiprocessing.queues import Queue

import numpy as np

import inlay

TEXT = inlay.__doc__ or ""
WORDS = sorted({word.strip(".,:").lower() for word in (TEXT + (__doc__ or "")).split()})[:60]


def vector(word: str) -> list[float]:
    """Count the letters of a word."""
    return [float(word.count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz"]


def read(folder: str, seconds: float, answers: "Queue[tuple[int, int, set[int]]]") -> None:
    """Look for some seconds: how often, how many changes were seen, and every count there was."""
    looks, shelves, counts = 0, set(), set()
    with inlay.Collection.open(folder, read_only=True) as words:
        until = time.monotonic() + seconds
        while looks == 0 or time.monotonic() < until:
            hits = words.search(vector("read"), len(WORDS) + 1)
            counts.add(len(hits))
            shelves.add(tuple(sorted(hit.id for hit in hits if hit.metadata["shelf"] == 1)))
            looks += 1
    answers.put((looks, len(shelves), counts))


def main() -> None:
    """Start readers, write meanwhile, and compare."""
    parser = argparse.ArgumentParser(description="One process writes, others read.")
    parser.add_argument("--readers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long (default: %(default)s)")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder, inlay.Collection.open(folder) as words:
        words.add(
            [vector(word) for word in WORDS], ids=WORDS, metadatas=[{"shelf": 0} for _ in WORDS], texts=WORDS
        )
        try:
            inlay.Collection.open(folder)
        except BlockingIOError as refused:
            print(f"a second writer: {type(refused).__name__}")
        answers: Queue[tuple[int, int, set[int]]] = context.Queue()
        readers = [
            context.Process(target=read, args=(folder, args.seconds, answers)) for _ in range(args.readers)
        ]
        for reader in readers:
            reader.start()
        changes = 0
        while any(reader.is_alive() for reader in readers):
            some = [str(word) for word in rng.choice(WORDS, 10, replace=False)]
            shelf = int(rng.integers(2))
            words.upsert([vector(word) for word in some], ids=some, metadatas=[{"shelf": shelf}] * 10)
            changes += 1
        print(f"the writer made {changes:,} changes")
        for _ in readers:
            looks, seen, counts = answers.get(timeout=60)
            print(f"a reader looked {looks:,} times, saw {seen:,} states, and always {counts} words")
        for reader in readers:
            reader.join()


if __name__ == "__main__":
    main()
