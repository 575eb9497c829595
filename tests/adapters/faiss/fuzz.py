"""Damage files of the FAISS interface: what `tests/formats/fuzz.py` does to those of single indexes.

    python tests/adapters/faiss/fuzz.py --files 10000 --seed 1

An accident must be refused, or be found out by `verify`. A lie, sealed again, must be refused, or be an index
that can be searched, changed and saved, or that says with an error of its own what it cannot.
"""

import contextlib
import sys
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from formats import fuzz
from formats.make import DIM, numbers

import inlay.adapters.faiss as faiss

N = 40
STRINGS = (
    *("Flat", "SQ4", "LVQ4x8", "PQ4x4", "RVQ3x4", "IVF3,SQ8", "IVF3_HNSW4,RVQ3x4", "LoRANN3", "HNSW4,SQ8"),
    *("SymQG32", "QuIVer4", "IDMap2,OPQ4_8,IVF3,LVQ4,Refine(SQfp16)", "PCAW4,L2norm,SQ8,RFlat,IDMap"),
    *("RR,SQ8", "HR,Flat", "Pad32,PQ4x4fs", "IVF3(HNSW4),PQ4x4fs"),
)


@cache
def originals() -> tuple[bytes, ...]:
    """Files of every class: with removed rows and rows of NaN, with words for ids, shards, empty ones."""
    x = numbers(N, DIM)
    x[7, 3] = np.nan
    made: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, string in enumerate(STRINGS):
            index = faiss.index_factory(DIM, string, number % 2)
            made.append(faiss.clone_index(index))
            index.train(np.nan_to_num(x))
            index.add_with_ids(x, np.arange(N) * 3) if "IDMap" in string else index.add(x)
            index.remove_ids([0, 9])
            made.append(index)
    words = faiss.StrIDMap(faiss.IndexFlatL2(DIM))
    words.add_with_ids(x, [f"row {i}" for i in range(N)])
    shards, replicas = faiss.IndexShards(DIM), faiss.IndexReplicas(DIM)
    for part in (x[:9], x[9:]):
        shards.add_shard(faiss.IndexFlatL2(DIM))
        replicas.add_replica(faiss.IndexFlatL2(DIM))
        shards.at(shards.count() - 1).add(part)
    replicas.add(x)
    return tuple(faiss.serialize_index(index).tobytes() for index in [*made, words, shards, replicas])


def load(path: Path, mmap: bool) -> Any:
    """Open a file, mapped or read."""
    return faiss.read_index(path, faiss.IO_FLAG_MMAP if mmap else 0)


def queries_for(index: Any) -> np.ndarray:
    """Return queries of an index's dimensions."""
    d = index.d
    return numbers(3, d, start=77) if d <= 4 * DIM else np.zeros((3, d), np.float32)


def use(index: Any) -> None:
    """Search, look and change; what an index cannot, it says."""
    queries = queries_for(index)
    with contextlib.suppress(faiss.IndexOperationError):
        distances, ids = index.search(queries, 5)
        assert distances.shape == ids.shape == (3, 5)
        assert not np.isnan(distances).any()
    with contextlib.suppress(faiss.IndexOperationError):
        index.reconstruct_batch(index.ids[:20])
    with contextlib.suppress(faiss.IndexOperationError):
        index.remove_ids(index.ids[::3])
        assert faiss.clone_index(index).ntotal == index.ntotal


def answers(index: Any) -> tuple[bytes, ...]:
    """What an index says to a few queries; nothing before training."""
    if not index.is_trained:
        return ()
    return tuple(np.asarray(part).tobytes() for part in index.search(queries_for(index), 5))


def refused(call: Callable[..., Any], *arguments: Any) -> bool:
    """Whether a call raises an `IndexFileError`."""
    try:
        call(*arguments)
    except faiss.IndexFileError:
        return True
    return False


def tried(seed: int, number: int, path: Path) -> str:
    """Open the file of that number in every way; return what came of it, or raise."""
    data, original, damage = fuzz.damaged(seed, number, originals)
    path.write_bytes(data)
    kind = damage.__name__.replace("_", " ")
    whole, mapped = (fuzz.opened(path, mmap, load, faiss.IndexFileError) for mmap in (False, True))
    if damage in fuzz.ACCIDENTS:
        assert whole is None, "the file was opened although its bytes are not those that were written"
    if mapped is None:
        assert whole is None, "a file that is read is judged otherwise than one that is mapped"
        return f"{kind}: refused"
    if whole is not None:
        use(whole)
        use(mapped)
        return f"{kind}: an index of its own"
    assert refused(faiss.verify, path), "verification passed a damaged file"
    if not refused(faiss.serialize_index, mapped):  # what is damaged is padding
        assert answers(mapped) == answers(faiss.read_index(original)), "it answers otherwise; nothing says so"
    use(mapped)
    return f"{kind}: mapped, found by verification"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(fuzz.main(trial=tried, description=__doc__))
