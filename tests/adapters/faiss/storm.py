"""Eight threads search while one adds and removes, in every family: no wrong label, no crash, no deadlock.

    python tests/adapters/faiss/storm.py [SECONDS]

Rows come and go in order of their labels, so that every label that comes back can be checked: it was given
before the search ended. Labels never return, so what was removed before a search
began must not be among what it finds.
"""

import sys
import threading
import time
import warnings

import numpy as np

import inlay.adapters.faiss as faiss

STRINGS = (
    *("IDMap2,Flat", "IDMap2,LVQ4x8", "IDMap2,PQ4x4", "IDMap2,RVQ4x4", "IVF8,SQ8", "IDMap2,IVF8,Flat"),
    *(
        "IDMap2,LoRANN8",
        "HNSW8",
        "IDMap2,HNSW8,SQ8",
        "IDMap2,SymQG32",
        "IDMap2,QuIVer8",
        "IDMap2,PCA8,SQ8,RFlat",
    ),
)
D, ROWS, BATCH = 16, 400, 20


def storm(string: str, seconds: float, n_threads: int = 8) -> tuple[int, int]:
    """Return how many searches and changes there were; raise for the first wrong answer."""
    rng = np.random.default_rng(0)
    index = faiss.index_factory(D, string)
    first = rng.standard_normal((ROWS, D)).astype(np.float32)
    index.train(first)
    named = isinstance(index, faiss.IndexIDMap)
    index.add_with_ids(first, np.arange(ROWS)) if named else index.add(first)
    # Labels below `gone` were removed, labels from `born` on were never given.
    state = {"gone": 0, "born": ROWS}
    faults: list[BaseException] = []
    counts = [0] * (n_threads + 1)
    end = time.monotonic() + seconds

    def goes_on() -> bool:
        # However short the time, everybody has had a turn.
        return not faults and (time.monotonic() < end or 0 in counts)

    def search(number: int) -> None:
        own = np.random.default_rng(number)
        try:
            while goes_on():
                gone = state["gone"]
                queries = own.standard_normal((3, D)).astype(np.float32)
                sel = faiss.IDSelectorRange(gone, 1 << 40) if number % 2 else None
                distances, labels = index.search(queries, 5, params=faiss.SearchParameters(sel=sel))
                born = state["born"]
                assert (labels >= gone).all(), f"{labels.min()} was removed before {gone}"
                assert (labels < born + BATCH).all(), f"{labels.max()} was never given, {born} is next"
                assert all(len(set(line)) == 5 for line in labels.tolist())
                assert (np.diff(distances, axis=1) >= 0).all()
                counts[number] += 1
        except BaseException as fault:
            faults.append(fault)

    def change() -> None:
        try:
            while goes_on():
                born, gone = state["born"], state["gone"]
                rows = rng.standard_normal((BATCH, D)).astype(np.float32)
                index.add_with_ids(rows, np.arange(born, born + BATCH)) if named else index.add(rows)
                state["born"] = born + BATCH
                assert index.remove_ids(np.arange(gone, gone + BATCH)) == BATCH
                state["gone"] = gone + BATCH
                counts[n_threads] += 1
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=search, args=(number,)) for number in range(n_threads)]
    threads.append(threading.Thread(target=change))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    assert index.ntotal == ROWS
    np.testing.assert_array_equal(np.sort(index.ids), np.arange(state["gone"], state["born"]))
    return sum(counts[:-1]), counts[-1]


def main() -> None:
    """Storm every family for its share of the time."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    warnings.simplefilter("ignore")
    for string in STRINGS:
        searches, changes = storm(string, seconds / len(STRINGS))
        print(f"{string:24} {searches:7,} searches beside {changes:6,} changes: no wrong label", flush=True)


if __name__ == "__main__":
    main()
