"""Words and vectors together, as methods and as a retriever."""

from pathlib import Path
from typing import Any

import pytest

from inlay import Collection
from inlay.adapters.langchain import InlayRetriever, InlayVectorStore


class Digits:
    """Takes digits for a vector and leaves words out."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[float(text.count("1")), float(text.count("2"))] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        self.asked.append("sync")
        return self.embed_documents([text])[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.embed_documents(texts)

    async def aembed_query(self, text: str) -> list[float]:
        self.asked.append("async")
        return self.embed_documents([text])[0]


@pytest.fixture
def shop() -> InlayVectorStore:
    store = InlayVectorStore(Digits(), full_text=True)  # type: ignore[arg-type]
    texts = ["1 green tea", "11 black coffee", "2 tea", "22 juice"]
    store.add_texts(texts, [{"n": n} for n in range(4)], ids=list("abcd"))
    return store


def names(documents: Any) -> list[str]:
    return [document.id for document in documents]


async def test_words_and_vector_are_fused(shop: InlayVectorStore) -> None:
    assert names(shop.hybrid_search("1 tea", k=2)) == ["a", "c"]
    assert names(await shop.ahybrid_search("1 tea", k=2)) == ["a", "c"]
    assert names(shop.hybrid_search("1 tea", k=4, alpha=1.0)) == names(shop.similarity_search("1", k=4))
    assert names(shop.hybrid_search("tea 1", k=4, filter={"n": {"$gte": 2}}, fusion="score")) == ["c", "d"]
    assert names(shop.hybrid_search("tea", filter=lambda m: m["n"] > 1, fetch_k=60)) == ["c", "d"]
    scored = shop.hybrid_search_with_score("1 tea", 4)
    assert [score for _, score in scored] == sorted((score for _, score in scored), reverse=True)
    assert await shop.ahybrid_search_with_score("1 tea", 4) == scored


async def test_words_alone_need_no_vector(shop: InlayVectorStore) -> None:
    asked = shop.embeddings.asked  # type: ignore[union-attr]
    assert names(shop.hybrid_search("coffee", alpha=0)) == ["b"]
    assert names(await shop.ahybrid_search("coffee tea", alpha=0, filter={"n": 1})) == ["b"]
    assert asked == []
    await shop.ahybrid_search("coffee")
    assert asked == ["async"]


async def test_a_retriever_searches_both(shop: InlayVectorStore) -> None:
    retriever = shop.as_retriever(search_type="hybrid", search_kwargs={"k": 2}, tags=["mine"])
    assert isinstance(retriever, InlayRetriever)
    assert retriever.tags == ["mine", "InlayVectorStore", "Digits"]
    assert names(retriever.invoke("1 tea")) == ["a", "c"]
    assert names(retriever.invoke("1 tea", k=1)) == ["a"]
    assert names(await retriever.ainvoke("1 tea", filter={"n": 2})) == ["c"]
    assert names(shop.as_retriever().invoke("2")) == names(shop.similarity_search("2"))
    assert names(await shop.as_retriever(search_type="mmr").ainvoke("2"))
    assert (
        names(shop.search("1 tea", "hybrid", k=1))
        == names(await shop.asearch("1 tea", "hybrid", k=1))
        == ["a"]
    )
    with pytest.raises(ValueError, match="not allowed"):
        shop.as_retriever(search_type="nonsense")


def test_without_full_text_it_says_so(spoken: Any) -> None:
    store = InlayVectorStore(spoken)
    store.add_texts(["1"])
    with pytest.raises(ValueError, match="full_text=True"):
        store.hybrid_search("1")


def test_copies_keep_the_words(shop: InlayVectorStore, tmp_path: Path) -> None:
    shop.save_local(tmp_path)
    loaded = InlayVectorStore.load_local(tmp_path, shop.embeddings)  # type: ignore[arg-type]
    assert names(loaded.hybrid_search("coffee", alpha=0)) == ["b"]


# What Chroma's store has


async def test_documents_are_replaced_by_the_names_of_other_stores(shop: InlayVectorStore) -> None:
    (tea, *_), juice = shop.get_by_ids(["a"]), shop.get_by_ids(["d"])[0]
    tea.page_content = "1 white tea"
    shop.update_document("a", tea)
    juice.page_content = "22 milk"
    await shop.aupdate_document("d", juice)
    assert [document.page_content for document in shop.get_by_ids(["a", "d"])] == ["1 white tea", "22 milk"]
    shop.update_documents(["a"], [juice])
    assert shop.get_by_ids(["a"])[0].page_content == "22 milk"
    await shop.aupdate_documents(["a"], [tea])
    assert shop.get_by_ids(["a"])[0].page_content == "1 white tea"
    assert (await shop.aget(["d"]))["documents"] == ["22 milk"]
    shop.reset_collection()
    await shop.areset_collection()
    assert len(shop.collection) == 0


async def test_relevance_by_vector(shop: InlayVectorStore) -> None:
    scored = shop.similarity_search_by_vector_with_relevance_scores([1.0, 0.0], 3, {"n": {"$lt": 3}})
    assert [(document.id, score) for document, score in scored] == [("a", 1.0), ("b", 1.0), ("c", 0.0)]
    again = await shop.asimilarity_search_by_vector_with_relevance_scores([1.0, 0.0], 3, {"n": {"$lt": 3}})
    assert again == scored


async def test_files_and_merging_have_their_twins(shop: InlayVectorStore, tmp_path: Path) -> None:
    await shop.asave_local(tmp_path)
    loaded = await InlayVectorStore.aload_local(tmp_path, shop.embeddings)  # type: ignore[arg-type]
    loaded.delete(["a"])
    await loaded.amerge_from(shop)
    await loaded.amerge_from(loaded)
    assert sorted(loaded.get()["ids"]) == list("abcd")


def test_an_open_collection_serves_a_store(spoken: Any) -> None:
    with Collection.open(metric="ip") as collection:
        store = InlayVectorStore(spoken, collection)
        store.add_texts(["1 0"], ids=["a"])
        assert "a" in collection
        with pytest.raises(ValueError, match="metric"):
            InlayVectorStore(spoken, collection, metric="l2")
