"""An asynchronous add lets the event loop run, whichever the framework."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

DIM = 8
Adding = Callable[[Any], Awaitable[Any]]


def langchain(path: Any, vectors: Any) -> tuple[Any, Adding]:
    from langchain_core.documents import Document
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from inlay.adapters.langchain import InlayVectorStore

    class Array(DeterministicFakeEmbedding):  # makes no container for each text
        async def aembed_documents(self, texts: list[str]) -> Any:
            return vectors[: len(texts)]

    documents = [
        Document(id=str(i), page_content=f"text {i}", metadata={"page": i, "tags": ["a"]})
        for i in range(len(vectors))
    ]
    store = InlayVectorStore(Array(size=DIM), path)
    return store, lambda store: store.aadd_documents(documents, progress=False)


def llama_index(path: Any, vectors: Any) -> tuple[Any, Adding]:
    from llama_index.core.schema import TextNode

    from inlay.adapters.llama_index import InlayVectorStore

    nodes = [
        TextNode(id_=str(i), text=f"text {i}", metadata={"page": i, "tags": ["a"]}, embedding=row)
        for i, row in enumerate(vectors.tolist())
    ]
    return InlayVectorStore(path), lambda store: store.async_add(nodes, progress=False)


@asynccontextmanager
async def watched() -> AsyncIterator[list[float]]:
    """Give the times from one turn of the loop to the next."""
    times: list[float] = []

    async def tick() -> None:
        while True:
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            times.append(time.perf_counter() - start)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.01)
    yield times
    ticking.cancel()


@pytest.mark.parametrize(("framework", "n"), [(langchain, 15_000), (llama_index, 4_000)])
async def test_the_loop_runs_on_while_much_is_added(
    framework: Callable[[Any, Any], Any], n: int, tmp_path: Any
) -> None:
    """On a quiet machine it waits 25 ms at most; here others may run at the same time."""
    store, add = framework(tmp_path, np.random.default_rng(0).normal(size=(n, DIM)).astype(np.float32))
    collected: list[int] = []

    def count(phase: str, about: dict[str, Any]) -> None:
        if phase == "start":
            collected.append(about["generation"])

    gc.collect()
    gc.callbacks.append(count)
    try:
        async with watched() as times:
            await add(store)
    finally:
        gc.callbacks.remove(count)
    assert len(store.client if framework is llama_index else store.collection) == n
    assert len(times) > 10
    assert max(times) < 1.0
    # A container kept for each document would be a collection for 700 documents, and after enough of these
    # comes one through all that the process has, which stops every thread. So it is not by chance that none
    # took long.
    assert len(collected) < n / 1000
    assert 2 not in collected
    store.close()
