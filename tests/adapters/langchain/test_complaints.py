"""What people complain about in other stores, and what no other file here looks at."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding

from inlay.adapters.langchain import InlayVectorStore

DIM = 24
N = 3000


class Counted(DeterministicFakeEmbedding):
    """Knows how many texts it was given, and fails at a certain one."""

    seen: int = 0
    fails_at: int = -1

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        if 0 <= self.fails_at < self.seen + len(texts):
            raise ConnectionError("the embedder is gone")
        self.seen += len(texts)
        return [np.random.default_rng(int(text)).normal(size=self.size).tolist() for text in texts]


def load(store: InlayVectorStore, first: int, last: int, **options: Any) -> None:
    names = [str(i) for i in range(first, last)]
    store.add_texts(names, [{"n": int(name)} for name in names], names, progress=False, **options)


@pytest.fixture(scope="module")
def filled() -> InlayVectorStore:
    store = InlayVectorStore(Counted(size=DIM))
    load(store, 0, N)
    return store


def test_a_function_is_asked_about_tens_of_documents_and_not_all(filled: InlayVectorStore) -> None:
    asked = []

    def even(document: Any) -> bool:
        asked.append(document.id)
        return bool(document.metadata["n"] % 2 == 0)

    found = filled.similarity_search("7", k=5, filter=even)
    assert [document.metadata["n"] % 2 for document in found] == [0] * 5
    assert len(asked) <= 40
    assert found == filled.similarity_search("7", k=5, filter={"n": list(range(0, N, 2))})


def test_more_than_any_batch_limit_is_one_call() -> None:
    with InlayVectorStore(Counted(size=4), batch_size=10**6) as store:
        load(store, 0, 9000)
        assert len(store.collection) == 9000
        assert len(store.get_by_ids([str(i) for i in range(9000)])) == 9000
        store.delete([str(i) for i in range(8999)])
        assert store.get()["ids"] == ["8999"]


@pytest.mark.parametrize("index", ["HNSW8,LVQ8", "QuIVer16", "LVQ4x8", "IVF16,LVQ8"])
def test_after_deletes_every_index_still_gives_k(index: str) -> None:
    with InlayVectorStore(Counted(size=DIM), index=index) as store:
        load(store, 0, 400)
        store.delete([str(i) for i in range(400) if i % 8])
        assert store.collection.index == index
        for k in (1, 10, 50, 60):
            found = [int(document.id or -1) for document in store.similarity_search("3", k=k)]
            assert len(found) == len(set(found)) == min(k, 50)
            assert all(name % 8 == 0 for name in found)


def test_what_is_deleted_gives_its_memory_and_disk_back(tmp_path: Path) -> None:
    with InlayVectorStore(Counted(size=DIM), tmp_path) as store:
        load(store, 0, 1600)
        before = store.collection.stats()
        store.delete([str(i) for i in range(1500)])
        after = store.collection.stats()
        assert (after["documents"], after["removed"]) == (100, 0)
        assert after["vector_bytes"] == before["vector_bytes"] // 16
        assert after["index_bytes"] <= before["index_bytes"] // 8


def test_one_more_document_costs_what_it_is_and_not_what_there_is(tmp_path: Path) -> None:
    with InlayVectorStore(Counted(size=DIM), tmp_path) as store:
        load(store, 0, N)
        sizes = {file: file.stat().st_size for file in tmp_path.iterdir() if not file.name.endswith("-wal")}
        load(store, N, N + 1)
        for file, size in sizes.items():
            assert file.stat().st_size <= size + DIM * 4
    with InlayVectorStore(Counted(size=DIM), tmp_path) as store:
        assert [found.page_content for found in store.get_by_ids([str(N)])] == [str(N)]


def test_a_load_that_broke_off_goes_on_where_it_was(tmp_path: Path) -> None:
    embedder = Counted(size=DIM, fails_at=230)
    told: list[tuple[int, int]] = []
    names = [str(i) for i in range(350)]
    with InlayVectorStore(embedder, tmp_path, batch_size=100) as store, pytest.raises(ConnectionError):
        store.add_texts(names, ids=names, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (200, 350)
    embedder.fails_at = -1
    with InlayVectorStore(embedder, tmp_path) as store:
        rest = [name for name in names if name not in store.collection]
        store.add_texts(rest, ids=rest)
        assert embedder.seen == 350
        assert sorted(store.get()["ids"]) == sorted(names)
