"""Getting documents out of the store."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from inlay.adapters.langchain import InlayVectorStore

Score = Literal["similarity", "distance"]
METRICS = ["cosine", "l2", "ip"]
SCORES: list[Score] = ["similarity", "distance"]


def random_rows(n: int, dim: int = 8, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((n, dim), dtype=np.float32)


def spoken_text(vector: npt.NDArray[np.float32]) -> str:
    return " ".join(repr(float(number)) for number in vector)


def filled(embedding: Any, rows: npt.NDArray[np.float32], **options: Any) -> InlayVectorStore:
    """A store in memory of documents "0", "1", ... with metadata n (the number), tens, and even."""
    store = InlayVectorStore(embedding, **options)
    metadatas = [{"n": n, "tens": n // 10, "even": n % 2 == 0} for n in range(len(rows))]
    store.add_embeddings(
        ((f"text {n}", row) for n, row in enumerate(rows)), metadatas, [str(n) for n in range(len(rows))]
    )
    return store


def exact_scores(
    metric: str, score: str, query: npt.NDArray[np.float32], rows: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """The documented score of every row, in float64."""
    q, x = query.astype(np.float64), rows.astype(np.float64)
    squared, inner = ((x - q) ** 2).sum(axis=1), x @ q
    cosine = inner / (np.linalg.norm(x, axis=1) * np.linalg.norm(q))
    similarity = {"cosine": cosine, "l2": 1 / (1 + squared), "ip": inner}
    distance = {"cosine": 1 - cosine, "l2": squared, "ip": -inner}
    return np.asarray({"similarity": similarity, "distance": distance}[score][metric])


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


# Scores


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_what_the_documentation_says(spoken: Any, metric: str, score: Score) -> None:
    rows = random_rows(60)
    store = filled(spoken, rows, metric=metric, score=score)
    for query in random_rows(5, seed=1):
        expected = exact_scores(metric, score, query, rows)
        order = np.argsort(expected if score == "distance" else -expected)[:7]
        found = store.similarity_search_with_score(spoken_text(query), 7)
        assert ids([document for document, _ in found]) == [str(row) for row in order]
        np.testing.assert_allclose([value for _, value in found], expected[order], rtol=1e-5, atol=1e-6)
        assert json.dumps([value for _, value in found])
        assert all(type(value) is float for _, value in found)


@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 2**16))
@settings(max_examples=20, deadline=None)
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("metric", METRICS)
def test_relevance_lies_between_0_and_1_and_falls(metric: str, score: Score, scale: float, seed: int) -> None:
    class Fixed:
        def embed_documents(self, texts: list[str]) -> Any:
            raise AssertionError("vectors are given")

        def embed_query(self, text: str) -> Any:
            return rows[0]

    rows = random_rows(20, seed=seed) * np.float32(scale)
    store = filled(Fixed(), rows, metric=metric, score=score)
    found = store.similarity_search_with_relevance_scores("", k=20)  # a score out of range would warn
    relevances = [relevance for _, relevance in found]
    assert all(0.0 <= relevance <= 1.0 for relevance in relevances)
    assert relevances == sorted(relevances, reverse=True)
    if metric != "ip":
        assert found[0][0].id == "0"
        assert relevances[0] == pytest.approx(1.0)


async def test_relevance_is_the_cosine_as_other_stores_have_it(spoken: Any) -> None:
    store = InlayVectorStore(spoken)
    store.add_texts(["1 0", "1 1", "0 1", "-1 0"], ids=list("abcd"))
    for found in (
        store.similarity_search_with_relevance_scores("1 0"),
        await store.asimilarity_search_with_relevance_scores("1 0"),
    ):
        assert {document.id: relevance for document, relevance in found} == pytest.approx(
            {"a": 1.0, "b": 0.5**0.5, "c": 0.0, "d": 0.0}
        )


def test_a_relevance_function_of_ones_own_is_used_and_clipped(spoken: Any) -> None:
    given_scores: list[float] = []

    def relevance(score: float) -> float:
        given_scores.append(score)
        return 2.0 * score

    store = InlayVectorStore(spoken, relevance_score_fn=relevance)
    store.add_texts(["1 0", "1 10", "-1 0"], ids=list("abc"))
    found = store.similarity_search_with_relevance_scores("1 0")
    assert [relevance for _, relevance in found] == pytest.approx([1.0, 2 / 101**0.5, 0.0])
    assert given_scores == [score for _, score in store.similarity_search_with_score("1 0")]


@pytest.mark.parametrize("score", SCORES)
def test_a_score_threshold_is_in_the_units_of_the_scores(spoken: Any, score: Score) -> None:
    store = InlayVectorStore(spoken, score=score)
    store.add_texts(["1 0", "1 1", "0 1"], ids=list("abc"))
    assert ids(store.similarity_search("1 0", score_threshold=0.5)) == ["a", "b"]
    assert ids(store.similarity_search_batch(["1 0"], score_threshold=0.5)[0]) == ["a", "b"]


# Searching


@pytest.mark.parametrize(("k", "expected"), [(-1, 0), (0, 0), (1, 1), (5, 5), (50, 5)])
async def test_there_are_k_results_or_as_many_as_there_are(spoken: Any, k: int, expected: int) -> None:
    store = filled(spoken, random_rows(5, 2))
    assert len(store.similarity_search("1 0", k)) == expected
    assert len(await store.asimilarity_search("1 0", k=k)) == expected
    assert len(store.similarity_search_with_relevance_scores("1 0", k)) == expected
    assert len(store.max_marginal_relevance_search("1 0", k)) == expected
    assert [len(found) for found in store.similarity_search_batch(["1 0", "0 1"], k)] == [expected] * 2


async def test_an_empty_store_has_no_results(store: InlayVectorStore) -> None:
    assert store.similarity_search("1 0") == []
    assert store.similarity_search_with_score("1 0") == []
    assert store.similarity_search_with_relevance_scores("1 0") == []
    assert store.max_marginal_relevance_search("1 0") == []
    assert store.similarity_search_batch(["1 0", "0 1"]) == [[], []]
    assert store.similarity_search_batch([]) == []
    assert await store.asimilarity_search_batch([]) == []
    assert store.get() == {"ids": [], "metadatas": [], "documents": []}


def test_ties_come_in_the_order_of_insertion(spoken: Any) -> None:
    store = InlayVectorStore(spoken)
    store.add_texts(["1 0"] * 6, ids=list("fbdace"))
    assert ids(store.similarity_search("1 0", k=6)) == list("fbdace")


def test_a_vector_may_be_a_list_or_an_array(spoken: Any) -> None:
    rows = random_rows(20)
    store = filled(spoken, rows)
    forms: list[Any] = [rows[3], rows[3].tolist(), rows[3].astype(np.float64), tuple(rows[3].tolist())]
    for form in forms:
        assert store.similarity_search_by_vector(form, 1)[0].id == "3"
        assert store.max_marginal_relevance_search_by_vector(form, 1)[0].id == "3"
    assert spoken.calls == []


async def test_a_batch_of_queries_gives_what_each_query_gives(spoken: Any) -> None:
    store = filled(spoken, random_rows(80), index="LVQ8")
    queries = [spoken_text(query) for query in random_rows(6, seed=2)]
    one_by_one = [store.similarity_search(query, 5, filter={"even": True}) for query in queries]
    assert store.similarity_search_batch(queries, 5, {"even": True}) == one_by_one
    assert await store.asimilarity_search_batch(queries, 5, filter={"even": True}) == one_by_one


def test_retrievers_of_other_stores_may_pass_their_widths_but_typing_errors_are_caught(spoken: Any) -> None:
    store = filled(spoken, random_rows(50, 2), index="LVQ8")
    plain = store.similarity_search("1 0", 3)
    assert store.similarity_search("1 0", 3, fetch_k=50, lambda_mult=0.5) == plain
    assert store.similarity_search("1 0", 3, rerank=50) == plain
    for search in (store.similarity_search, store.max_marginal_relevance_search):
        with pytest.raises((TypeError, ValueError), match="filtre"):
            search("1 0", filtre={"n": 1})


def test_a_search_never_calls_the_embedder_for_documents(store: InlayVectorStore, spoken: Any) -> None:
    store.add_texts(["1 0"])
    spoken.calls.clear()
    store.similarity_search("1 0")
    store.max_marginal_relevance_search("1 0")
    store.similarity_search_batch(["1 0"])
    assert spoken.calls == [("embed_query", 1)] * 3


# Filters


def every_read(store: InlayVectorStore, condition: Any) -> Iterator[set[str | None]]:
    """The ids that each way of reading finds under a filter, asked for more than there are."""
    vector = [1.0] * 8
    query = " ".join(["1"] * 8)
    yield set(ids(store.similarity_search(query, 500, filter=condition)))
    yield {found.id for found, _ in store.similarity_search_with_score(query, 500, condition)}
    yield {
        found.id for found, _ in store.similarity_search_with_relevance_scores(query, 500, filter=condition)
    }
    yield set(ids(store.similarity_search_by_vector(vector, 500, filter=condition)))
    yield set(ids(store.similarity_search_batch([query], 500, condition)[0]))
    yield set(ids(store.max_marginal_relevance_search(query, 500, 500, filter=condition)))
    yield {
        found.id
        for found, _ in store.max_marginal_relevance_search_with_score_by_vector(
            vector, 500, filter=condition
        )
    }
    yield set(store.get(filter=condition)["ids"])
    yield set(store.get(where=condition)["ids"])


def in_memory_form(document: Document) -> bool:
    """A filter as written for InMemoryVectorStore."""
    assert isinstance(document, Document)
    assert document.page_content == f"text {document.id}"
    return bool(document.metadata["tens"] == 3)


def faiss_form(metadata: Any) -> bool:
    """A filter as written for FAISS."""
    assert "absent" not in metadata
    assert metadata.get("absent", 7) == 7
    return bool(metadata["tens"] == 3 and dict(metadata)["n"] in range(30, 40))


@pytest.mark.parametrize(
    "condition",
    [
        {"tens": 3},
        {"n": {"$gte": 30, "$lt": 40}},
        {"$or": [{"n": list(range(30, 35))}, {"n": {"$in": list(range(35, 40))}}]},
        {"$and": [{"tens": {"$ne": 2}}, {"tens": {"$eq": 3}}], "n": {"$exists": True}},
        {"$not": {"tens": {"$nin": [3]}}},
        in_memory_form,
        faiss_form,
    ],
    ids=["bare value", "range", "or", "and", "not", "callable of a document", "callable of metadata"],
)
def test_every_way_of_reading_honours_every_form_of_filter(spoken: Any, condition: Any) -> None:
    store = filled(spoken, random_rows(80))
    for found in every_read(store, condition):
        assert found == {str(n) for n in range(30, 40)}


@pytest.mark.parametrize("nothing", [None, {}])
def test_no_condition_is_no_filter(spoken: Any, nothing: Any) -> None:
    store = filled(spoken, random_rows(10))
    assert all(len(found) == 10 for found in every_read(store, nothing))


@pytest.mark.parametrize("form", ["dict", "callable"])
@pytest.mark.parametrize("index", ["Flat", "LVQ8", "LVQ4x8"])
def test_a_filter_that_one_in_a_hundred_passes_still_gives_k_hits(spoken: Any, index: str, form: str) -> None:
    """They are the nearest of those that match, even when they are the farthest of all."""
    rows = random_rows(3000)
    query = rows[0]
    store = filled(spoken, rows, index=index, metric="l2")
    far = np.argsort(-((rows - query) ** 2).sum(axis=1))[:30]
    chosen = set(far.tolist())
    condition: Any = {"n": sorted(chosen)} if form == "dict" else lambda document: document["n"] in chosen
    found = store.similarity_search_by_vector(query, 10, filter=condition)
    assert ids(found) == [str(n) for n in far[::-1][:10]]


async def test_bad_filters_are_refused_even_by_an_empty_store(store: InlayVectorStore) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="unsupported operator"):
            store.similarity_search("1 0", filter={"n": {"$near": 1}})
        with pytest.raises(ValueError, match="unsupported operator"):
            await store.amax_marginal_relevance_search("1 0", filter={"$xor": []})
        with pytest.raises((TypeError, ValueError)):
            store.similarity_search("1 0", filter="n = 1")
        store.add_texts(["1 0"])


def test_an_exception_of_a_callable_filter_reaches_the_caller(spoken: Any) -> None:
    store = filled(spoken, random_rows(5, 2))
    with pytest.raises(KeyError, match="absent"):
        store.similarity_search("1 0", filter=lambda document: document["absent"])


# Variety


def reference_mmr(
    query: npt.NDArray[np.float32], rows: npt.NDArray[np.float32], k: int, fetch_k: int, lambda_mult: float
) -> list[str]:
    """LangChain's own order, over the exact nearest."""
    nearest = np.argsort(-exact_scores("cosine", "similarity", query, rows), kind="stable")[: max(fetch_k, k)]
    picked = maximal_marginal_relevance(query, [rows[n].tolist() for n in nearest], lambda_mult, k)
    return [str(nearest[pick]) for pick in picked]


@pytest.mark.parametrize(
    ("k", "fetch_k", "lambda_mult"), [(4, 20, 0.5), (10, 40, 0.3), (5, 5, 0.0), (8, 3, 0.7), (6, 30, 1.0)]
)
async def test_variety_is_picked_in_the_order_of_langchain_itself(
    spoken: Any, k: int, fetch_k: int, lambda_mult: float
) -> None:
    rows = random_rows(120)
    store = filled(spoken, rows, index="LVQ8")
    for query in random_rows(5, seed=3):
        expected = reference_mmr(query, rows, k, fetch_k, lambda_mult)
        text = spoken_text(query)
        assert ids(store.max_marginal_relevance_search(text, k, fetch_k, lambda_mult)) == expected
        assert ids(await store.amax_marginal_relevance_search(text, k, fetch_k, lambda_mult)) == expected


def test_variety_is_sought_among_the_documents_that_match(spoken: Any) -> None:
    rows = random_rows(200)
    store = filled(spoken, rows)
    query = random_rows(1, seed=4)[0]
    even = rows[::2]
    expected = [str(2 * int(n)) for n in reference_mmr(query, even, 4, 20, 0.5)]
    assert ids(store.max_marginal_relevance_search_by_vector(query, filter={"even": True})) == expected


@pytest.mark.parametrize("score", SCORES)
async def test_variety_reports_the_score_for_the_query(spoken: Any, score: Score) -> None:
    rows = random_rows(50)
    store = filled(spoken, rows, score=score)
    query = random_rows(1, seed=5)[0]
    expected = exact_scores("cosine", score, query, rows)
    for found in (
        store.max_marginal_relevance_search_with_score_by_vector(query, k=5),
        await store.amax_marginal_relevance_search_with_score_by_vector(query, k=5),
    ):
        assert [value for _, value in found] == pytest.approx(
            [expected[int(document.id or "")] for document, _ in found], abs=1e-6
        )


# Reading without a search


async def test_documents_are_read_in_the_order_asked_and_unknown_ids_are_skipped(
    store: InlayVectorStore,
) -> None:
    store.add_texts(["1 0", "0 1"], [{}, {"n": 1}], ids=["a", "b"])
    expected = [Document(id="b", page_content="0 1", metadata={"n": 1}), Document(id="a", page_content="1 0")]
    assert store.get_by_ids(["b", "missing", "a"]) == expected
    assert await store.aget_by_ids(["b", "missing", "a"]) == expected
    assert store.get_by_ids([]) == []


def test_any_number_of_ids_can_be_read_at_once(spoken: Any) -> None:
    store = filled(spoken, random_rows(5000, 2))
    wanted = [str(n) for n in reversed(range(5000))] * 8
    assert ids(store.get_by_ids(wanted)) == wanted


def test_get_reads_columns(spoken: Any) -> None:
    rows = random_rows(30)
    store = filled(spoken, rows)
    got = store.get(filter={"even": True}, limit=3, offset=2)
    assert got == {
        "ids": ["4", "6", "8"],
        "metadatas": [{"n": n, "tens": 0, "even": True} for n in (4, 6, 8)],
        "documents": ["text 4", "text 6", "text 8"],
    }
    got = store.get(["7", "missing", "5"], include=["embeddings"])
    assert got["ids"] == ["7", "5"]
    assert set(got) == {"ids", "embeddings"}
    np.testing.assert_array_equal(got["embeddings"], rows[[7, 5]])
    assert store.get("7", include=[]) == {"ids": ["7"]}
    assert store.get(["7", "5"], where={"n": 5})["ids"] == ["5"]
    assert store.get(limit=0)["ids"] == []
    with pytest.raises(ValueError, match="where and filter"):
        store.get(where={"n": 1}, filter={"n": 1})
    with pytest.raises(ValueError, match="uris"):
        store.get(include=["uris"])


async def test_a_retriever_searches_in_every_way_it_knows(spoken: Any) -> None:
    rows = random_rows(100)
    store = filled(spoken, rows)
    query = random_rows(1, seed=6)[0]
    text = spoken_text(query)
    similar = store.as_retriever(search_kwargs={"k": 6, "filter": {"even": True}})
    various = store.as_retriever(search_type="mmr", search_kwargs={"k": 5, "fetch_k": 30, "lambda_mult": 0.4})
    threshold = store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.3, "k": 100}
    )
    cosines = exact_scores("cosine", "similarity", query, rows)
    nearest = np.argsort(-cosines)
    expected = [
        (similar, [str(n) for n in nearest if n % 2 == 0][:6]),
        (various, reference_mmr(query, rows, 5, 30, 0.4)),
        (threshold, [str(n) for n in nearest if cosines[n] >= 0.3]),
    ]
    for retriever, wanted in expected:
        assert ids(retriever.invoke(text)) == wanted
        assert ids(await retriever.ainvoke(text)) == wanted
        assert retriever.tags == ["InlayVectorStore", "Spoken"]
    assert ids(similar.invoke(text, k=2)) == expected[0][1][:2]


async def test_search_by_the_name_of_its_type(spoken: Any) -> None:
    store = filled(spoken, random_rows(20, 2))
    for kind in ("similarity", "mmr", "similarity_score_threshold"):
        found = store.search("1 0", kind, k=3)
        assert len(found) == 3
        assert await store.asearch("1 0", kind, k=3) == found
    with pytest.raises(ValueError, match="not allowed"):
        store.search("1 0", "magic")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("similarity_search", ("1 0", 3)),
        ("similarity_search_with_score", ("1 0", 3)),
        ("similarity_search_with_relevance_scores", ("1 0", 3)),
        ("similarity_search_by_vector", ([1.0, 0.0], 3)),
        ("similarity_search_with_score_by_vector", ([1.0, 0.0], 3, {"even": True})),
        ("similarity_search_batch", (["1 0", "0 1"], 3)),
        ("max_marginal_relevance_search", ("1 0", 3)),
        ("max_marginal_relevance_search_by_vector", ([1.0, 0.0], 3)),
        ("max_marginal_relevance_search_with_score_by_vector", ([1.0, 0.0], 3)),
        ("get_by_ids", (["3", "1"],)),
    ],
)
async def test_async_gives_the_same_and_awaits_the_embedder(spoken: Any, name: str, arguments: Any) -> None:
    store = filled(spoken, random_rows(30, 2))
    sync: Callable[..., Any] = getattr(store, name)
    expected = sync(*arguments)
    called = [f"a{method}" for method, _ in spoken.calls]
    spoken.calls.clear()
    assert await getattr(store, f"a{name}")(*arguments) == expected
    assert [method for method, _ in spoken.calls] == called


async def test_searches_of_one_loop_run_together(spoken: Any) -> None:
    rows = random_rows(200)
    store = filled(spoken, rows)
    found = await asyncio.gather(*(store.asimilarity_search(spoken_text(row), 1) for row in rows))
    assert [ids(documents) for documents in found] == [[str(n)] for n in range(len(rows))]


def test_get_takes_conditions_on_the_text(store: InlayVectorStore) -> None:
    texts = ["1 0", "1 1", "0 1"]
    store.add_texts(texts, [{"page": page} for page in (1, 2, 3)], ids=list("abc"))
    for words, filter, wanted in (
        ({"$contains": "1 "}, None, "ab"),
        ({"$not_contains": "1 1"}, None, "ac"),
        ({"$contains": "1 "}, {"page": {"$gt": 1}}, "b"),
        ({"$contains": "1 "}, lambda document: document.metadata["page"] == 1, "a"),
        (
            {"$or": [{"$contains": "1 1"}, {"$and": [{"$contains": "0"}, {"$not_contains": "1 "}]}]},
            None,
            "bc",
        ),
        ({"$contains": "7"}, {}, ""),
    ):
        assert "".join(store.get(where=filter, where_document=words)["ids"]) == wanted
    assert store.get(where_document={"$contains": "1"}, limit=1, offset=1)["ids"] == ["b"]
    assert store.get(["c", "a"], where_document={"$contains": "0"})["ids"] == ["c", "a"]
    for wrong in ("1", {"$regex": "1"}, {"$and": [], "$or": []}):
        with pytest.raises((TypeError, ValueError)):
            store.get(where_document=wrong)  # type: ignore[arg-type]
