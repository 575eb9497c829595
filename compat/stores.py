"""Document stores side by side, as a LangChain application sees them: every one by its own adapter.

    python -m compat.stores --base rows.npy --queries queries.npy [--only inlay chroma]

Each store takes the same texts, metadata and vectors in a process of its own, is closed, and is opened again
by another process, which answers one query per call: without a filter, and with one that a document in a
hundred meets. The second processes take turns, run of queries after run of queries, and the best run counts.
Memory is what the second process has grown by since it had imported everything; "own" is without what it maps
from files. Recall is against exact answers by cosine. A store that is not installed is left out.

What is needed beside Inlay: ``pip install langchain-chroma langchain-qdrant langchain-community faiss-cpu``.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings

from compat import memory
from compat.data import Floats, clustered
from compat.tables import share, table

PART = 1000  # documents per call that adds
RARE = 100  # one document in so many meets the filter
K = 10
Asked = dict[str, Any]  # keywords of a search


class Vectors(Embeddings):
    """LangChain's embeddings of texts that begin with the number of a row: that row."""

    def __init__(self, base: Floats, queries: Floats) -> None:
        self._base, self._queries = base, queries

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the rows of the base."""
        rows: list[list[float]] = self._base[[int(text.split(" ", 1)[0]) for text in texts]].tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        """Return a query."""
        query: list[float] = self._queries[int(text.split(" ", 1)[0])].tolist()
        return query


def inlay_store(path: Path, vectors: Vectors, dim: int) -> Any:
    """Open Inlay's adapter, as it is by default."""
    from inlay.adapters.langchain import InlayVectorStore

    return InlayVectorStore(vectors, path)


def chroma_store(path: Path, vectors: Vectors, dim: int) -> Any:
    """Open Chroma's, with the cosine."""
    from langchain_chroma import Chroma

    return Chroma(
        "documents",
        vectors,
        persist_directory=str(path),
        collection_metadata={"hnsw:space": "cosine"},
    )


def faiss_store(path: Path, vectors: Vectors, dim: int) -> Any:
    """Open FAISS's over a flat index: of unit rows the inner product is the cosine."""
    import faiss
    from langchain_community.docstore.in_memory import InMemoryDocstore
    from langchain_community.vectorstores import FAISS

    if path.exists():
        return FAISS.load_local(str(path), vectors, allow_dangerous_deserialization=True)
    return FAISS(vectors, faiss.IndexFlatIP(dim), InMemoryDocstore(), {})


def qdrant_store(path: Path, vectors: Vectors, dim: int) -> Any:
    """Open Qdrant's in local mode, with the cosine."""
    from langchain_qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient, models

    client = QdrantClient(path=str(path))
    if not client.collection_exists("documents"):
        params = models.VectorParams(size=dim, distance=models.Distance.COSINE)
        client.create_collection("documents", vectors_config=params)
    return QdrantVectorStore(client, "documents", vectors, validate_collection_config=False)


def qdrant_filter(page: int) -> Any:
    """Return Qdrant's form of the filter."""
    from qdrant_client import models

    return models.Filter(
        must=[models.FieldCondition(key="metadata.page", match=models.MatchValue(value=page))]
    )


def plain_filter(page: int) -> Any:
    """Return the filter as a dict."""
    return {"page": page}


@dataclass(frozen=True)
class Store:
    """A store, and how it is asked.

    Attributes
    ----------
    name : str
    module : str
        What must be installed.
    open : callable
        From a folder, vectors and the dimension.
    efforts : dict
        By the name of a row of the table, keywords for searches; with a number of documents n to put in.
    filter : callable
        From a page number.
    numbered : bool
        Whether ids must be numbers.
    save : callable, optional
        Write to the folder; for a store that does not by itself.
    """

    name: str
    module: str
    open: Callable[[Path, Vectors, int], Any]
    efforts: Callable[[int], dict[str, Asked]] = lambda n: {"": {}}
    filter: Callable[[int], Any] = plain_filter
    numbered: bool = False
    save: Callable[[Any, Path], None] | None = None


STORES = (
    Store("inlay", "inlay", inlay_store, lambda n: {"": {}, " ef=640": {"ef": 640}}),
    Store("chroma", "langchain_chroma", chroma_store),
    Store(
        "faiss",
        "langchain_community",
        faiss_store,
        lambda n: {"": {}, " fetch_k=n": {"fetch_k": n}},
        save=lambda store, path: store.save_local(str(path)),
    ),
    Store("qdrant", "langchain_qdrant", qdrant_store, filter=qdrant_filter, numbered=True),
)


def named(name: str) -> Store:
    """Return the store of a name."""
    return next(store for store in STORES if store.name == name)


@dataclass
class Measured:
    """One row of the table: a store at one effort."""

    name: str
    documents_a_second: float
    disk: int
    reopened: float
    grown: int = 0
    owned: int = 0
    milliseconds: dict[bool, float] = field(default_factory=dict)  # by whether there is a filter
    recall: dict[bool, float] = field(default_factory=dict)


def documents(n: int, texts: Sequence[str] | None) -> tuple[list[str], list[dict[str, Any]]]:
    """Return what is stored beside the vectors: the row's number stands before each text."""
    bodies = [f"{i} {texts[i] if texts is not None else 'a document of some words'}" for i in range(n)]
    return bodies, [{"page": i % RARE, "source": f"file {i // 20}.pdf"} for i in range(n)]


def ingest(name: str, path: Path, base: Floats, texts: Sequence[str] | None, done: Connection) -> None:
    """Fill a store, in a process of its own, and say how many seconds it took until all was on disk."""
    store, (bodies, metadatas) = named(name), documents(len(base), texts)
    opened = store.open(path, Vectors(base, base), base.shape[1])
    start = time.perf_counter()
    for first in range(0, len(base), PART):
        last = min(first + PART, len(base))
        ids = list(range(first, last)) if store.numbered else [str(row) for row in range(first, last)]
        opened.add_texts(bodies[first:last], metadatas[first:last], ids=ids)
    if store.save is not None:
        store.save(opened, path)
    close(opened)
    done.send(time.perf_counter() - start)


def close(opened: Any) -> None:
    """Close a store that can be closed, itself or by its client."""
    for thing in (opened, getattr(opened, "client", None)):
        shut = getattr(thing, "close", None)
        if shut is not None:
            shut()
            return


def answer(name: str, path: Path, queries: Floats, dim: int, requests: Connection) -> None:
    """Open a store again, in a process of its own, and answer runs of queries until told to stop."""
    store, warm = named(name), path.with_name("warm")
    close(store.open(warm, Vectors(queries, queries), dim))  # imports, before memory and time are taken
    memory.settle()
    before = memory.resident() or 0, memory.anonymous() or 0
    start = time.perf_counter()
    opened = store.open(path, Vectors(queries, queries), dim)
    opened.similarity_search("0", k=K)
    requests.send(time.perf_counter() - start)
    while (request := requests.recv()) is not None:
        asked, filtered = request
        taken, rows = [], []
        for number in range(len(queries)):
            keywords = {**asked, "filter": store.filter(number % RARE)} if filtered else asked
            start = time.perf_counter()
            found = opened.similarity_search(str(number), k=K, **keywords)
            taken.append(time.perf_counter() - start)
            rows.append([int(document.page_content.split(" ", 1)[0]) for document in found])
        after = memory.resident() or 0, memory.anonymous() or 0
        requests.send((statistics.median(taken), rows, after[0] - before[0], after[1] - before[1]))
    close(opened)


def recall(base: Floats, queries: Floats, rows: Sequence[Sequence[int]], filtered: bool) -> float:
    """Return the mean share of the K nearest by cosine that was found; rows as near as the last are right."""
    found = wanted = 0
    lengths = np.linalg.norm(base, axis=1)
    for number, (query, near) in enumerate(zip(queries, rows, strict=True)):
        cosines = (base @ query) / lengths
        allowed = cosines[number % RARE :: RARE] if filtered else cosines
        last = np.partition(allowed, len(allowed) - min(K, len(allowed)))[-min(K, len(allowed))]
        right = np.array([row for row in near if not filtered or row % RARE == number % RARE], np.int64)
        found += int((cosines[right] >= last - 1e-6).sum())
        wanted += min(K, len(allowed))
    return found / wanted


def measure(
    stores: Sequence[Store],
    base: Floats,
    queries: Floats,
    texts: Sequence[str] | None,
    folder: Path,
    rounds: int,
) -> list[Measured]:
    """Fill all stores one after the other, then let them answer in turns."""
    context = multiprocessing.get_context("spawn")
    rows: list[tuple[Measured, Asked, Connection]] = []
    with ExitStack() as stack:
        for store in stores:
            path = folder / store.name / "store"
            path.parent.mkdir()
            ours, theirs = context.Pipe()
            filler = context.Process(target=ingest, args=(store.name, path, base, texts, theirs))
            filler.start()
            seconds = received(ours, filler)
            filler.join()
            print(f"{store.name}: {len(base)} documents in {seconds:.1f} s", file=sys.stderr, flush=True)
            disk = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            child = context.Process(
                target=answer, args=(store.name, path, queries, base.shape[1], theirs), daemon=True
            )
            child.start()
            stack.callback(child.join)
            stack.callback(ours.send, None)
            reopened = received(ours, child)
            for name, asked in store.efforts(len(base)).items():
                row = Measured(store.name + name, len(base) / seconds, disk, reopened)
                rows.append((row, asked, ours))
        for _ in range(rounds):
            for filtered in (False, True):
                for row, asked, pipe in rows:
                    pipe.send((asked, filtered))
                    median, found, row.grown, row.owned = pipe.recv()
                    row.milliseconds[filtered] = min(median * 1e3, row.milliseconds.get(filtered, np.inf))
                    if filtered not in row.recall:
                        row.recall[filtered] = recall(base, queries, found, filtered)
    return [row for row, _, _ in rows]


def received(pipe: Connection, child: Any) -> Any:
    """Return what a process says, or say that it died."""
    while not pipe.poll(1.0):
        if not child.is_alive():
            raise RuntimeError("a store's process ended before it had done its work; see above")
    return pipe.recv()


HEAD = (
    *("store", "documents/s", "ms", "recall", "ms at 1 %", "recall"),
    *("memory MB", "own MB", "disk MB", "reopen s"),
)


def report(rows: Sequence[Measured]) -> str:
    """Return the table of all rows, as they are."""
    lines = [
        [
            row.name,
            f"{row.documents_a_second:,.0f}",
            *(
                cell
                for filtered in (False, True)
                for cell in (f"{row.milliseconds[filtered]:.2f}", share(row.recall[filtered]))
            ),
            *(f"{size / 1e6:,.0f}" for size in (row.grown, row.owned, row.disk)),
            f"{row.reopened:.2f}",
        ]
        for row in rows
    ]
    return table(HEAD, lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        prog="python -m compat.stores",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--base", type=Path, help="rows: .npy; made up when left out")
    parser.add_argument("--queries", type=Path, help="queries: .npy")
    parser.add_argument("--texts", type=Path, help="a text for every row, one a line")
    parser.add_argument("--limit", type=int, default=100_000, help="rows (default 100,000)")
    parser.add_argument("--asked", type=int, default=200, help="queries (default 200)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="runs of all queries, the best counts (default 3)"
    )
    parser.add_argument("--only", nargs="+", choices=[store.name for store in STORES], help="these stores")
    parser.add_argument("--folder", type=Path, help="where the stores are made (default: a temporary folder)")
    given = parser.parse_args(arguments)
    if (given.base is None) != (given.queries is None):
        parser.error("--base and --queries belong together")
    if given.base is None:
        source = clustered(given.limit, 384, given.asked, seed=1)
        base, queries = np.asarray(source.base), np.asarray(source.queries)
    else:
        base, queries = np.load(given.base), np.load(given.queries)
    base, queries = base[: given.limit].astype(np.float32), queries[: given.asked].astype(np.float32)
    texts = given.texts.read_text().splitlines() if given.texts is not None else None
    if texts is not None and len(texts) < len(base):
        parser.error(f"there are {len(texts)} texts for {len(base)} rows")
    stores = [
        store
        for store in STORES
        if (given.only is None or store.name in given.only) and importlib.util.find_spec(store.module)
    ]
    folder = Path(tempfile.mkdtemp(prefix="stores-", dir=given.folder))
    try:
        print(report(measure(stores, base, queries, texts, folder, given.rounds)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
