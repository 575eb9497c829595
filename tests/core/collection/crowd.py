"""Many read while one writes: every answer must be that of one committed state, and whole.

    python tests/core/collection/crowd.py --seconds 60 --threads 8 --processes 3

The documents are in groups, which are replaced, patched, or removed and put back as wholes, each time by one
call, with a new number in the text and the metadata of all of them. Threads of the writer's process and of
others search by vectors, by words, by both, and with filters, for all there is. So a group whose members bear
different numbers is a torn answer, one in part is a short one; and of the groups that only ever get replaced
every search must find every member.
"""

import argparse
import collections
import multiprocessing
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from inlay.collection import Collection, Hit, upkeep

GROUPS, MEMBERS, DIM = 40, 10, 8
N = GROUPS * MEMBERS
STEADY = GROUPS // 2  # groups that are never removed
OPEN: dict[str, Any] = {"full_text": True, "index": "HNSW8,LVQ8"}


def put(collection: Collection, group: int, number: int) -> None:
    """Replace a group."""
    ids = [f"{group}-{member}" for member in range(MEMBERS)]
    rows = np.random.default_rng(number).normal(size=(MEMBERS, DIM))
    collection.upsert(
        rows,
        ids=ids,
        texts=[f"word {number}"] * MEMBERS,
        metadatas=[{"group": group, "number": number, "patch": number}] * MEMBERS,
        progress=False,
    )


def change(collection: Collection, rng: np.random.Generator, number: int) -> None:
    """Change one group, in one of the ways there are."""
    group = int(rng.integers(GROUPS))
    kind = rng.integers(10)
    if kind == 0 and group >= STEADY:
        collection.delete(filter={"group": group})
    elif kind == 1:
        collection.update_metadata(None, {"patch": number}, filter={"group": group})
    elif kind == 2:
        collection.snapshot()
    else:
        put(collection, group, number)


def ask(collection: Collection, rng: np.random.Generator) -> list[Hit]:
    """Ask for all documents, in one of the ways there are."""
    query = rng.normal(size=DIM)
    match rng.integers(5):
        case 0:
            return collection.search(query, N)
        case 1:
            return collection.hybrid(query, "word", N, fetch_k=N)
        case 2:
            return collection.search(query, N, filter={"group": {"$gte": 0}})
        case 3:
            return collection.search(query, N, filter=lambda held: held["patch"] >= 0)
        case _:
            return collection.search_text("word", N)


def faults(hits: list[Hit]) -> list[str]:
    """Return what is wrong with an answer."""
    groups = collections.defaultdict(list)
    for hit in hits:
        held = hit.metadata
        groups[held["group"]].append((held["number"], held["patch"], hit.text))
    wrong = [f"group {group} is torn: {set(held)}" for group, held in groups.items() if len(set(held)) > 1]
    wrong += [
        f"group {group}: {held[0]}" for group, held in groups.items() if f"word {held[0][0]}" != held[0][2]
    ]
    wrong += [
        f"group {group} has {len(held)} members" for group, held in groups.items() if len(held) != MEMBERS
    ]
    return wrong + [f"group {group} is missing" for group in range(STEADY) if group not in groups]


def read(collection: Collection, until: float, threads: int) -> tuple[int, list[str]]:
    """Ask in several threads; return how many answers there were and what was wrong with them."""
    counts, wrong = [0] * threads, []

    def one(number: int) -> None:
        rng = np.random.default_rng(number)
        while time.time() < until:
            try:
                wrong.extend(faults(ask(collection, rng)))
            except Exception as error:  # whatever it is, it should not be
                wrong.append(repr(error))
            counts[number] += 1

    readers = [threading.Thread(target=one, args=(number,)) for number in range(threads)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    return sum(counts), wrong


def elsewhere(folder: Path, seconds: float, threads: int, all_here: Any, said: Any) -> None:
    """Read in another process."""
    with Collection.open(folder, read_only=True) as collection:
        all_here.wait()
        said.put(read(collection, time.time() + seconds, threads))


def run(folder: Path, seconds: float, threads: int, processes: int) -> tuple[dict[str, int], list[str]]:
    """Write and read for a while; return counts, and what was wrong."""
    upkeep._WASTE_ROWS, upkeep._TAIL_ROWS_OF_GRAPH = 200, 500
    context = multiprocessing.get_context("spawn")
    with Collection.open(folder, **OPEN) as collection:
        for group in range(GROUPS):
            put(collection, group, group)
        said, all_here = context.Queue(), context.Barrier(processes)
        children = [
            context.Process(target=elsewhere, args=(folder, seconds, threads, all_here, said))
            for _ in range(processes - 1)
        ]
        for child in children:
            child.start()
        all_here.wait(timeout=120)
        until = time.time() + seconds
        answers: list[tuple[int, list[str]]] = []
        reader = threading.Thread(target=lambda: answers.append(read(collection, until, threads)))
        reader.start()
        rng, number = np.random.default_rng(0), GROUPS
        while time.time() < until:
            number += 1
            change(collection, rng, number)
        reader.join()
        answers += [said.get(timeout=120) for _ in children]
        for child in children:
            child.join()
        generation = int(collection.stats()["generation"])
    counts = {
        "changes": number - GROUPS,
        "compactions": generation,
        "answers": sum(count for count, _ in answers),
        "least answers of a process": min(count for count, _ in answers),
    }
    return counts, [fault for _, wrong in answers for fault in wrong]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int, default=8, help="that read, in each process")
    parser.add_argument("--processes", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts, wrong = run(Path(folder) / "collection", given.seconds, given.threads, given.processes)
    print(counts, f"{len(wrong)} faults", *wrong[:5], sep="\n")


if __name__ == "__main__":
    main()
