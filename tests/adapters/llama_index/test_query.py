"""Queries in every mode."""

from typing import Any

import pytest
from llama_index.core.schema import ImageNode, IndexNode, TextNode
from llama_index.core.vector_stores.types import (
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

from inlay.adapters.llama_index import InlayVectorStore

EVEN = MetadataFilters(filters=[MetadataFilter(key="page", value=[2, 4], operator="in")])


def ask(store: InlayVectorStore, *, keywords: dict[str, Any] | None = None, **query: Any) -> Any:
    return store.query(VectorStoreQuery(**{"similarity_top_k": 5, **query}), **(keywords or {}))


def test_results_are_aligned_and_the_best_first(filled: InlayVectorStore) -> None:
    result = ask(filled, query_embedding=[0.0, 1.0, 0.0], similarity_top_k=3)
    assert result.ids == ["c", "b", "d"]
    assert [node.node_id for node in result.nodes] == result.ids
    assert result.similarities == pytest.approx([1.0, 0.5**0.5, 0.5**0.5])
    assert all(type(similarity) is float for similarity in result.similarities)
    assert result.nodes[0].metadata == {"page": 3, "lang": "EN", "tags": []}
    assert ask(filled, query_embedding=[0.0, 1.0, 0.0], similarity_top_k=0).ids == []


@pytest.mark.parametrize(("metric", "wanted"), [("l2", [1.0, 0.5, 0.2]), ("ip", [4.0, 2.0, 0.0])])
def test_similarities_are_larger_for_nearer_ones(metric: str, wanted: list[float]) -> None:
    with InlayVectorStore(metric=metric) as store:
        rows = [[0.0, 2.0], [0.0, 1.0], [0.0, 0.0]]
        store.add([TextNode(id_=str(i), text="", embedding=row) for i, row in enumerate(rows)])
        assert ask(store, query_embedding=[0.0, 2.0]).similarities == wanted


def test_filters_documents_and_nodes_intersect(filled: InlayVectorStore) -> None:
    query = {"query_embedding": [1.0, 1.0, 1.0]}
    assert set(ask(filled, **query, filters=EVEN).ids) == {"b", "d"}
    assert set(ask(filled, **query, doc_ids=["x"]).ids) == {"a", "b"}
    assert ask(filled, **query, doc_ids=[]).ids == []
    assert set(ask(filled, **query, node_ids=[]).ids) == set("abcde")
    assert set(ask(filled, **query, node_ids=["a", "d", "nobody"]).ids) == {"a", "d"}
    assert ask(filled, **query, node_ids=["nobody"]).ids == []
    assert ask(filled, **query, node_ids=["a", "d"], filters=EVEN).ids == ["d"]
    assert ask(filled, **query, node_ids=["a", "d"], filters=EVEN, doc_ids=["x"]).ids == []
    assert ask(filled, **query, filters=EVEN, similarity_top_k=1).ids == ["b"]


def test_the_ids_that_an_index_passes_by_itself_are_no_restriction(filled: InlayVectorStore) -> None:
    others = [
        IndexNode(id_="i", text="there", index_id="1", embedding=[1.0, 0, 0]),
        ImageNode(id_="p", image="QQ==", embedding=[1.0, 0, 0]),
    ]
    filled.add(others)
    query = {"query_embedding": [1.0, 1.0, 1.0], "similarity_top_k": 10}
    assert len(ask(filled, **query, node_ids=["i", "p"]).ids) == 7
    assert ask(filled, **query, node_ids=["i"]).ids == ["i"]
    assert set(ask(filled, **query, node_ids=["i", "p", "a"]).ids) == {"i", "p", "a"}
    filled.delete_nodes(list("abcde"))
    assert set(ask(filled, **query, node_ids=["i", "p"]).ids) == {"i", "p"}


def test_a_query_without_embedding_reads_by_metadata(filled: InlayVectorStore) -> None:
    result = ask(filled, filters=EVEN)
    assert (result.ids, result.similarities) == (["b", "d"], None)
    assert [node.node_id for node in result.nodes] == ["b", "d"]
    assert ask(filled, filters=EVEN, similarity_top_k=1).ids == ["b"]
    assert ask(filled, node_ids=["d", "a"]).ids == ["d", "a"]
    assert ask(filled, doc_ids=["y"]).ids == ["c", "d"]
    with pytest.raises(ValueError, match="neither an embedding nor filters"):
        ask(filled)


@pytest.mark.parametrize(
    ("on_query", "keywords", "wanted"),
    [
        (0.0, {}, ["a", "c"]),
        (1.0, {}, ["a", "b"]),
        (None, {}, ["a", "b"]),
        (None, {"mmr_threshold": 0.0}, ["a", "c"]),
        (1.0, {"mmr_threshold": 0.0}, ["a", "c"]),
        (0.0, {"mmr_threshold": 1.0}, ["a", "b"]),
        (0.0, {"mmr_threshold": None}, ["a", "b"]),
        (0.0, {"mmr_prefetch_k": 2}, ["a", "b"]),
        (0.0, {"mmr_prefetch_factor": 1.0}, ["a", "b"]),
        (0.0, {"mmr_prefetch_factor": 1.5}, ["a", "c"]),
    ],
)
def test_mmr_weighs_by_the_threshold(on_query: Any, keywords: dict[str, Any], wanted: list[str]) -> None:
    with InlayVectorStore() as store:
        rows = {"a": [1.0, 0.0], "b": [1.0, 0.0], "c": [0.0, 1.0]}
        store.add([TextNode(id_=name, text="", embedding=row) for name, row in rows.items()])
        query = {
            "query_embedding": [1.0, 0.0],
            "mode": "mmr",
            "mmr_threshold": on_query,
            "similarity_top_k": 2,
        }
        result = ask(store, keywords=keywords, **query)
        assert result.ids == wanted
        assert result.similarities == pytest.approx([1.0, 1.0 if wanted[1] == "b" else 0.0])


def test_mmr_is_filtered_and_knows_its_keywords(filled: InlayVectorStore) -> None:
    query = {"query_embedding": [1.0, 1.0, 1.0], "mode": VectorStoreQueryMode.MMR}
    assert set(ask(filled, **query, filters=EVEN).ids) == {"b", "d"}
    assert set(ask(filled, **query, doc_ids=["y"], node_ids=["c", "a"]).ids) == {"c"}
    with pytest.raises(TypeError, match="mmr_treshold"):
        ask(filled, **query, keywords={"mmr_treshold": 0.1})
    with pytest.raises(ValueError, match="give one"):
        ask(filled, **query, keywords={"mmr_prefetch_k": 8, "mmr_prefetch_factor": 2.0})


@pytest.mark.parametrize("mode", ["text_search", "sparse"])
def test_words_are_searched(filled: InlayVectorStore, mode: str) -> None:
    result = ask(filled, query_str="tea?", mode=mode)
    assert set(result.ids) == {"a", "c"}
    assert result.similarities == sorted(result.similarities, reverse=True)
    assert ask(filled, query_str="tea OR coffee", mode=mode, filters=EVEN).ids == ["b"]
    assert ask(filled, query_str="coffee", mode=mode, doc_ids=["y"]).ids == ["c"]
    assert len(ask(filled, query_str="tea coffee", mode=mode, sparse_top_k=1).ids) == 1
    with pytest.raises(ValueError, match="query_str"):
        ask(filled, mode=mode)


def test_hybrid_fuses_vector_and_words(filled: InlayVectorStore) -> None:
    query = {"query_embedding": [0.0, 0.0, 1.0], "query_str": "tea", "mode": "hybrid"}
    assert ask(filled, **query, alpha=1.0).ids == ask(filled, query_embedding=[0.0, 0.0, 1.0]).ids
    assert ask(filled, **query, alpha=0.0).ids == ask(filled, query_str="tea", mode="text_search").ids
    assert len(ask(filled, **query).ids) == 5
    assert len(ask(filled, **query, hybrid_top_k=2).ids) == 2
    assert ask(filled, **query, similarity_top_k=1, sparse_top_k=1, hybrid_top_k=2).ids == ["a", "e"]
    assert ask(filled, **query, similarity_top_k=1, keywords={"fusion": "score"}, alpha=0.9).ids == ["e"]
    assert set(ask(filled, **query, filters=EVEN).ids) == {"b", "d"}
    for missing in ("query_embedding", "query_str"):
        with pytest.raises(ValueError, match=missing):
            ask(filled, **{**query, missing: None})


@pytest.mark.parametrize("mode", ["text_search", "sparse", "hybrid"])
def test_words_need_full_text(mode: str) -> None:
    with InlayVectorStore() as store, pytest.raises(NotImplementedError, match=f"'{mode}'.*full_text=True"):
        ask(store, query_embedding=[1.0], query_str="a", mode=mode)


@pytest.mark.parametrize("mode", ["semantic_hybrid", "svm", "logistic_regression", "linear_regression"])
def test_modes_that_are_not_there_say_so(filled: InlayVectorStore, mode: str) -> None:
    with pytest.raises(NotImplementedError, match=mode):
        ask(filled, query_embedding=[1.0, 0, 0], query_str="tea", mode=mode)


def test_the_effort_of_the_index_is_a_keyword(filled: InlayVectorStore) -> None:
    query = {"query_embedding": [1.0, 0.0, 0.0]}
    assert ask(filled, **query, keywords={"rerank": 10}).ids == ask(filled, **query).ids
    with pytest.raises(TypeError, match="nonsense"):
        ask(filled, **query, keywords={"nonsense": 1})


def test_an_empty_store_answers_everything(store: InlayVectorStore) -> None:
    for mode in ("default", "mmr", "text_search", "sparse", "hybrid"):
        result = ask(store, query_embedding=[1.0], query_str="tea", mode=mode)
        assert (result.nodes, result.similarities, result.ids) == ([], [], [])
    assert ask(store, filters=EVEN).ids == []
    assert store.get_nodes() == []
