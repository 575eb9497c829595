"""LangChain's indexing API: the store as the destination of `index` and `aindex`."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, aindex, index

from inlay.adapters.langchain import InlayVectorStore

Run = Callable[..., Awaitable[dict[str, int]]]


@pytest.fixture(params=["index", "aindex"])
def run(request: pytest.FixtureRequest, store: InlayVectorStore) -> Run:
    """Index documents into the store, one way or the other; give the counts."""
    records = InMemoryRecordManager("tests")
    records.create_schema()

    async def indexed(documents: list[Document], cleanup: Any, **options: Any) -> dict[str, int]:
        given: dict[str, Any] = {
            "record_manager": records,
            "vector_store": store,
            "cleanup": cleanup,
            "source_id_key": "source",
            "key_encoder": "sha256",
            **options,
        }
        result = await aindex(documents, **given) if request.param == "aindex" else index(documents, **given)
        return {key: count for key, count in dict(result).items() if isinstance(count, int)}

    return indexed


def pages(source: str, *texts: str) -> list[Document]:
    return [Document(page_content=text, metadata={"source": source}) for text in texts]


def counts(added: int = 0, updated: int = 0, skipped: int = 0, deleted: int = 0) -> dict[str, int]:
    return {"num_added": added, "num_updated": updated, "num_skipped": skipped, "num_deleted": deleted}


def texts(store: InlayVectorStore) -> list[str]:
    return sorted(store.get()["documents"])


async def test_without_cleanup_documents_pile_up_but_not_twice(store: InlayVectorStore, run: Run) -> None:
    assert await run(pages("a", "1 0", "0 1"), None) == counts(added=2)
    assert await run(pages("a", "1 0", "0 1"), None) == counts(skipped=2)
    assert await run(pages("a", "1 0", "2 2"), None) == counts(added=1, skipped=1)
    assert texts(store) == ["0 1", "1 0", "2 2"]


async def test_incremental_cleanup_removes_what_a_source_no_longer_says(
    store: InlayVectorStore, run: Run
) -> None:
    await run(pages("a", "1 0", "0 1") + pages("b", "3 3"), "incremental")
    assert await run(pages("a", "1 0", "2 2"), "incremental") == counts(added=1, skipped=1, deleted=1)
    assert texts(store) == ["1 0", "2 2", "3 3"]


async def test_full_cleanup_keeps_only_what_was_given(store: InlayVectorStore, run: Run) -> None:
    await run(pages("a", "1 0", "0 1") + pages("b", "3 3"), "full")
    assert await run(pages("a", "1 0", "2 2"), "full") == counts(added=1, skipped=1, deleted=2)
    assert texts(store) == ["1 0", "2 2"]
    assert await run([], "full") == counts(deleted=2)
    assert texts(store) == []


async def test_scoped_full_cleanup_spares_sources_that_were_not_given(
    store: InlayVectorStore, run: Run
) -> None:
    await run(pages("a", "1 0", "0 1") + pages("b", "3 3"), "scoped_full")
    assert await run(pages("a", "2 2"), "scoped_full") == counts(added=1, deleted=2)
    assert texts(store) == ["2 2", "3 3"]


async def test_many_batches_arrive_whole(store: InlayVectorStore, run: Run) -> None:
    documents = [page for n in range(50) for page in pages(f"s{n % 7}", f"{n} 1")]
    assert await run(documents, "incremental", batch_size=8) == counts(added=50)
    assert await run(documents[:20], "full", batch_size=8) == counts(skipped=20, deleted=30)
    assert texts(store) == sorted(document.page_content for document in documents[:20])


async def test_a_forced_update_writes_again_without_doubling(store: InlayVectorStore, run: Run) -> None:
    await run(pages("a", "1 0", "0 1"), "incremental")
    assert await run(pages("a", "1 0", "0 1"), "incremental", force_update=True) == counts(updated=2)
    assert texts(store) == ["0 1", "1 0"]


@pytest.mark.parametrize(
    "encoder", ["sha256", "sha512", "blake2b", lambda document: "key/" + document.page_content]
)
async def test_any_key_can_be_an_id(store: InlayVectorStore, run: Run, encoder: Any) -> None:
    await run(pages("a", "1 0", "0 1"), "full", key_encoder=encoder)
    assert await run(pages("a", "1 0"), "full", key_encoder=encoder) == counts(skipped=1, deleted=1)
    assert texts(store) == ["1 0"]


def test_indexing_again_after_losing_the_records_repairs_itself(spoken: Any, tmp_path: Path) -> None:
    """What a crash between the store's write and the record manager's leaves behind."""
    with InlayVectorStore(spoken, tmp_path) as store:
        for _ in range(2):
            records = InMemoryRecordManager("tests")
            records.create_schema()
            result = index(
                pages("a", "1 0", "0 1"),
                records,
                store,
                cleanup="incremental",
                source_id_key="source",
                key_encoder="sha256",
            )
            assert result["num_added"] == 2
            assert texts(store) == ["0 1", "1 0"]
        store.delete(store.get()["ids"][:1])
        result = index([], records, store, cleanup="full", key_encoder="sha256")
        assert result["num_deleted"] == 2
        assert texts(store) == []
