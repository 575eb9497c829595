"""The flows that people run: an index on the store, retrievers, ingestion, memory."""

from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import VectorMemoryBlock
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import IndexNode, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters

from inlay.adapters.llama_index import InlayVectorStore

DOCUMENTS = [
    Document(id_="one", text="11 green tea", metadata={"page": 1}),
    Document(id_="two", text="22 black coffee", metadata={"page": 2}),
    Document(id_="three", text="33 orange juice", metadata={"page": 3}),
]
FIRST_TWO = MetadataFilters(filters=[MetadataFilter(key="page", value=2, operator="<=")])


def texts(found: Any) -> list[str]:
    return [each.node.get_content() for each in found]


@pytest.fixture
def index(store: InlayVectorStore, embedder: Any) -> VectorStoreIndex:
    context = StorageContext.from_defaults(vector_store=store)
    return VectorStoreIndex.from_documents(DOCUMENTS, storage_context=context, embed_model=embedder)


def test_an_index_stores_and_retrieves(index: VectorStoreIndex) -> None:
    found = index.as_retriever(similarity_top_k=2).retrieve("2222 1")
    assert texts(found) == ["22 black coffee", "11 green tea"]
    assert found[0].score > found[1].score
    assert found[0].node.ref_doc_id == "two"
    filtered = index.as_retriever(similarity_top_k=2, filters=FIRST_TWO).retrieve("33")
    assert set(texts(filtered)) == {"11 green tea", "22 black coffee"}
    assert texts(index.as_retriever(doc_ids=["three"]).retrieve("11")) == ["33 orange juice"]


@pytest.mark.parametrize(
    ("mode", "keywords"),
    [("mmr", {"mmr_threshold": 0.1}), ("text_search", {}), ("sparse", {}), ("hybrid", {"fusion": "score"})],
)
def test_retrievers_have_modes(index: VectorStoreIndex, mode: str, keywords: dict[str, Any]) -> None:
    retriever = index.as_retriever(
        similarity_top_k=2, vector_store_query_mode=mode, vector_store_kwargs=keywords, alpha=0.5
    )
    assert "33 orange juice" in texts(retriever.retrieve("33 juice"))


async def test_an_index_retrieves_asynchronously(index: VectorStoreIndex, store: InlayVectorStore) -> None:
    assert texts(await index.as_retriever(similarity_top_k=1).aretrieve("33")) == ["33 orange juice"]
    await index.adelete_ref_doc("three", delete_from_docstore=True)
    await index.adelete_nodes([store.get_nodes()[0].node_id])
    assert [node.get_content() for node in store.get_nodes()] == ["22 black coffee"]


def test_documents_are_inserted_refreshed_and_deleted(
    index: VectorStoreIndex, store: InlayVectorStore
) -> None:
    index.insert(Document(id_="four", text="12 a spoon"))
    index.insert_nodes([TextNode(id_="n", text="13 a fork")])
    index.delete_ref_doc("one", delete_from_docstore=True)
    index.delete_nodes(["n"])
    index.update_ref_doc(Document(id_="two", text="22 white coffee"))
    assert {node.get_content() for node in store.get_nodes()} == {
        "22 white coffee",
        "33 orange juice",
        "12 a spoon",
    }
    index.delete_ref_doc("one")


def test_the_store_is_the_truth(index: VectorStoreIndex, store: InlayVectorStore, embedder: Any) -> None:
    again = VectorStoreIndex.from_vector_store(store, embed_model=embedder)
    assert texts(again.as_retriever(similarity_top_k=1).retrieve("22")) == ["22 black coffee"]
    again.insert(Document(id_="four", text="44"))
    again.delete_ref_doc("two")
    assert len(store.get_nodes()) == 3


def test_one_index_node_does_not_hide_the_others(store: InlayVectorStore, embedder: Any) -> None:
    context = StorageContext.from_defaults(vector_store=store)
    nodes = [TextNode(text="11"), TextNode(text="22"), IndexNode(text="33", index_id="elsewhere")]
    index = VectorStoreIndex(nodes, storage_context=context, embed_model=embedder)
    assert list(index.index_struct.nodes_dict.values()) == [nodes[2].node_id]
    assert texts(index.as_retriever(similarity_top_k=1).retrieve("11")) == ["11"]


def test_a_storage_context_persists_and_comes_back(
    index: VectorStoreIndex, tmp_path: Path, embedder: Any
) -> None:
    index.storage_context.persist(str(tmp_path / "all"))
    context = StorageContext.from_defaults(
        persist_dir=str(tmp_path / "all"),
        vector_store=InlayVectorStore.from_persist_dir(str(tmp_path / "all")),
    )
    loaded = load_index_from_storage(context, embed_model=embedder)
    assert texts(loaded.as_retriever(similarity_top_k=1).retrieve("22")) == ["22 black coffee"]


def test_ingestion_replaces_documents_that_changed(store: InlayVectorStore, embedder: Any) -> None:
    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(chunk_size=64, chunk_overlap=0), embedder],
        vector_store=store,
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS,
    )
    assert len(pipeline.run(documents=DOCUMENTS)) == 3
    assert pipeline.run(documents=DOCUMENTS) == []
    pipeline.run(documents=[DOCUMENTS[0], Document(id_="two", text="22 white coffee")])
    assert sorted(node.get_content() for node in store.get_nodes()) == [
        "11 green tea",
        "22 white coffee",
        "33 orange juice",
    ]


async def test_memory_is_kept_by_session(store: InlayVectorStore, embedder: Any) -> None:
    block = VectorMemoryBlock(vector_store=store, embed_model=embedder, similarity_top_k=5)
    for session, said in (("s", "11 mine"), ("t", "11 yours")):
        await block.aput(messages=[ChatMessage(role="user", content=said)], session_id=session)
    remembered = await block.aget(messages=[ChatMessage(role="user", content="11")], session_id="s")
    assert "11 mine" in remembered
    assert "yours" not in remembered


def test_both_frameworks_read_one_store(index: VectorStoreIndex, store: InlayVectorStore) -> None:
    langchain = pytest.importorskip("inlay.adapters.langchain")
    from langchain_core.embeddings import DeterministicFakeEmbedding

    same = langchain.InlayVectorStore(DeterministicFakeEmbedding(size=3), store.client)
    (document,) = same.get(where={"page": 2}, include=["documents"])["documents"]
    assert document == "22 black coffee"
