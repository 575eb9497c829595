"""A FAISS script, ported by its import line, and what it can do from then on.

    python examples/faiss_port.py

The first half is an ordinary FAISS script: it also runs with `import faiss`. The second half does what such
scripts get wrong or go without: removal that keeps ids, filters that fill k, words as ids, files that map.
"""

import tempfile
from pathlib import Path

import numpy as np

import inlay.adapters.faiss as faiss

D, N, K = 64, 20_000, 5


def vectors(n: int, seed: int) -> np.ndarray:
    """Return vectors that lie near twelve of 64 dimensions, as embeddings lie near few of theirs."""
    axes = np.random.default_rng(0).standard_normal((12, D))
    return (np.random.default_rng(seed).standard_normal((n, 12)) @ axes).astype(np.float32)


def ordinary_script(x: np.ndarray, queries: np.ndarray) -> None:
    """Search by inverted lists and by a graph, and compare with the exact answer."""
    exact = faiss.IndexFlatL2(D)
    exact.add(x)
    _, true = exact.search(queries, K)

    for name in ("IVF128,Flat", "IVF128,SQ8", "HNSW32", "OPQ16,IVF128,PQ16x4fs,RFlat"):
        index = faiss.index_factory(D, name)
        index.train(x)
        index.add(x)
        if name == "HNSW32":
            index.hnsw.efSearch = 64
        else:
            faiss.ParameterSpace().set_index_parameter(index, "nprobe", 16)
        if name.endswith("RFlat"):
            index.k_factor = 10
        _, labels = index.search(queries, K)
        print(f"{name:30} recall {faiss.eval_intersection(labels, true) / true.size:.3f}")


def from_then_on(x: np.ndarray, queries: np.ndarray, folder: Path) -> None:
    """Remove, filter, name rows by words, save and map, with families that FAISS does not have."""
    index = faiss.index_factory(D, "IDMap2,SymQG32")
    index.train(x)
    index.add_with_ids(x, np.arange(N) + 1_000_000)
    removed = index.remove_ids(np.arange(1_000_000, 1_005_000))
    index.upsert(queries[:1], [1_019_999])  # replaces the row of that id
    print(f"removed {removed:,}; id 1,019,999 is now at distance", index.search(queries[:1], 1)[0][0, 0])

    one_in_a_thousand = faiss.SearchParametersHNSW(sel=np.arange(1_005_000, 1_020_000, 1000), efSearch=32)
    _, labels = index.search(queries[:1], K, params=one_in_a_thousand)
    print("filtered to one row in a thousand, still", np.count_nonzero(labels >= 0), "results:", labels[0])

    faiss.write_index(index, folder / "graph.inlay")
    mapped = faiss.read_index(folder / "graph.inlay", faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    same = np.array_equal(mapped.search(queries, K)[1], index.search(queries, K)[1])
    print("mapped:", mapped, "with the same results" if same else "with other results")

    words = faiss.StrIDMap(faiss.IndexLVQ(D, 4, 8))
    words.train(x)
    words.add_with_ids(x, [f"document-{i}" for i in range(N)])
    print("by name:", words.search(x[7:8], 2)[1][0].tolist())


def main() -> None:
    """Run both halves."""
    x, queries = vectors(N, 1), vectors(100, 2)
    ordinary_script(x, queries)
    with tempfile.TemporaryDirectory() as folder:
        from_then_on(x, queries, Path(folder))


if __name__ == "__main__":
    main()
