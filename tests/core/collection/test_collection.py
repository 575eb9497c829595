"""The contract of Collection, line by line, in memory and on disk."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inlay.collection import Collection, Hit, Record, filters

METRICS = ("cosine", "l2", "ip")


def ids(found):
    return [one.id for one in found]


@pytest.fixture(params=["memory", "disk", "opened again"])
def filled(request, opened, tmp_path, documents):
    """50 documents."""
    place = ":memory:" if request.param == "memory" else tmp_path / "c"
    collection = opened(place, metric="l2")
    collection.add(**documents(50))
    if request.param == "opened again":
        collection.close()
        collection = opened(place)
    return collection


# Storing


def test_a_document_comes_back_as_it_was_given(filled, documents):
    everything = documents(50)
    assert filled.get(["id7"]) == [Record("id7", everything["texts"][7], everything["metadatas"][7])]
    np.testing.assert_array_equal(filled.vectors(["id7", "id3"]), everything["vectors"][[7, 3]])
    assert filled.vectors([]).shape == (0, 8)
    assert filled.dim == 8


def test_ids_are_returned_or_made(opened, place):
    collection = opened(place)
    made = collection.add(np.eye(3))
    assert len(set(made)) == 3
    assert ids(collection) == made
    assert collection.add(np.eye(3), ids=("a", "b", "c")) == ["a", "b", "c"]
    assert collection.get(["a"]) == [Record("a", "", {})]


def test_nothing_given_is_nothing_stored(opened, place):
    collection = opened(place)
    assert collection.add([]) == collection.upsert(np.empty((0, 5)), ids=[]) == []
    assert (len(collection), collection.dim) == (0, None)


def test_adding_a_known_id_is_an_error_and_stores_nothing(filled):
    for ids_given in (["new", "id7"], ["new", "new"]):
        with pytest.raises(ValueError, match=r"row 1 has the id '(id7|new)'.*upsert"):
            filled.add(np.zeros((2, 8)), ids=ids_given)
    assert len(filled) == 50
    assert "new" not in filled


def test_upsert_replaces_everything_of_a_document(filled):
    assert filled.upsert(np.ones((1, 8)), ids=["id7"], texts=["anew"], metadatas=[{"only": 1}]) == ["id7"]
    assert filled.get(["id7"]) == [Record("id7", "anew", {"only": 1})]
    assert filled.upsert(np.ones((1, 8)) * 2, ids=["id7"]) == ["id7"]
    assert filled.get(["id7"]) == [Record("id7", "", {})]
    np.testing.assert_array_equal(filled.vectors(["id7"]), np.full((1, 8), 2))
    assert filled.search(np.full(8, 2), 1) == [Hit("id7", "", {}, 0.0)]
    assert len(filled) == 50
    assert filled.count({"n": 7}) == 0


def test_of_several_rows_with_one_id_the_last_stays(filled):
    rows = np.arange(32.0).reshape(4, 8)
    assert filled.upsert(rows, ids=["x", "id1", "x", "id1"], texts=list("abcd")) == ["x", "id1", "x", "id1"]
    assert [record.text for record in filled.get(["x", "id1"])] == ["c", "d"]
    np.testing.assert_array_equal(filled.vectors(["x", "id1"]), rows[2:])
    assert len(filled) == 51


@pytest.mark.parametrize(
    "bad",
    [
        {"vectors": [[math.nan] * 8]},
        {"vectors": [[1.0] * 7]},
        {"vectors": np.ones((1, 8)), "ids": ["a", "b"]},
        {"vectors": np.ones((1, 8)), "ids": [5]},
        {"vectors": np.ones((1, 8)), "metadatas": [{"a": object()}]},
        {"vectors": np.ones((1, 8)), "texts": [None]},
        {"vectors": np.ones((1, 8)), "progress": 5},
    ],
)
def test_what_cannot_be_stored_changes_nothing(filled, bad):
    for store in (filled.add, filled.upsert):
        with pytest.raises((ValueError, TypeError)):
            store(**{"ids": ["new"], **bad} if "ids" not in bad else bad)
    assert len(filled) == 50
    assert filled.stats()["vector_bytes"] == 50 * 8 * 4


def test_callers_keep_what_is_theirs(filled):
    metadata = {"list": [1]}
    vector = np.ones((1, 8), np.float32)
    filled.add(vector, ids=["x"], metadatas=[metadata])
    metadata["list"].append(2)
    vector[:] = 5
    found = filled.get(["x"])[0]
    assert found.metadata == {"list": [1]}
    found.metadata["list"].append(3)
    filled.search(np.ones(8), 1)[0].metadata["list"].append(4)
    filled.search(np.ones(8), 1, filter=lambda m: m["list"].append(5) is None if "list" in m else False)
    assert filled.get(["x"])[0].metadata == {"list": [1]}
    np.testing.assert_array_equal(filled.vectors(["x"]), np.ones((1, 8)))


def test_any_text_and_any_id_can_be_stored(opened, place):
    collection = opened(place)
    texts = ["", "a" * 1_000_000, "\0", "line\nline", "\U0001f600 \u202e", "'; DROP TABLE doc; --"]
    names = ["x" * 500, "\0", "é", "'", "--", "1"]
    collection.add(np.eye(6), ids=names, texts=texts)
    assert [record.text for record in collection.get(names)] == texts
    assert all(name in collection for name in names)
    assert collection.delete(["\0"]) == 1
    assert "\0" not in collection


def test_progress_counts_documents(opened, place, documents):
    told = []
    opened(place).add(**documents(5000, dim=2), progress=lambda done, total: told.append((done, total)))
    assert told == [(4096, 5000), (5000, 5000)]


# Asking


def test_get_keeps_the_order_asked_for_and_skips_what_is_missing(filled):
    assert ids(filled.get(["id9", "nobody", "id1", "id9"])) == ["id9", "id1", "id9"]
    assert filled.get([]) == []


def test_get_without_ids_is_in_order_of_insertion(filled):
    filled.upsert(np.ones((1, 8)), ids=["id0"])
    names = [f"id{i}" for i in range(1, 50)] + ["id0"]
    assert ids(filled.get()) == ids(filled) == names
    assert ids(filled.get(limit=3)) == names[:3]
    assert ids(filled.get(limit=3, offset=48)) == names[48:]
    assert ids(filled.get(offset=45)) == names[45:]
    assert filled.get(limit=0) == filled.get(offset=1000) == []


def test_get_with_a_filter(filled):
    for cat in ({"word": "cat"}, lambda m: m["word"] == "cat"):
        assert ids(filled.get(filter=cat)) == [f"id{i}" for i in range(2, 50, 5)]
        assert ids(filled.get(filter=cat, limit=2, offset=1)) == ["id7", "id12"]
        assert ids(filled.get(["id7", "id8", "id2"], filter=cat)) == ["id7", "id2"]
        assert ids(filled.get(["id7", "id8", "id2"], filter=cat, offset=1)) == ["id2"]


def test_count_length_and_membership_agree(filled):
    assert len(filled) == filled.count() == filled.count({}) == len(list(filled)) == 50
    assert filled.count({"word": "cat"}) == filled.count(lambda m: m["word"] == "cat") == 10
    assert "id3" in filled
    assert "nobody" not in filled
    assert 3 not in filled


def test_a_missing_vector_is_a_key_error_that_names_it(filled):
    with pytest.raises(KeyError, match="nobody"):
        filled.vectors(["id1", "nobody"])


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: c.get("id1"),
        lambda c: c.get([1]),
        lambda c: c.get(limit=-1),
        lambda c: c.get(offset=-1),
        lambda c: c.get(limit=2.5),
        lambda c: c.delete("id1"),
        lambda c: c.delete([""]),
        lambda c: c.vectors("id1"),
        lambda c: c.search([1.0] * 7),
        lambda c: c.search([math.inf] * 8),
        lambda c: c.search(np.ones((2, 8))),
        lambda c: c.search(["a"] * 8),
        lambda c: c.search(np.ones(8), 2.5),
        lambda c: c.search(np.ones(8), 2, filter="x"),
        lambda c: c.search(np.ones(8), 2, unheard_of=3),
        lambda c: c.search_batch(np.ones(8)),
        lambda c: c.mmr(np.ones(8), lambda_mult=1.5),
        lambda c: c.mmr(np.ones(8), fetch_k=None),
    ],
)
def test_bad_arguments_are_errors(filled, ask):
    with pytest.raises((ValueError, TypeError)):
        ask(filled)


def test_unknown_operators_are_errors_on_an_empty_collection_too(opened, place):
    collection = opened(place)
    for ask in (
        lambda f: collection.search([1.0], 3, filter=f),
        lambda f: collection.search_batch([[1.0]], 0, filter=f),
        lambda f: collection.mmr([1.0], filter=f),
        lambda f: collection.get(filter=f),
        lambda f: collection.count(f),
        lambda f: collection.delete(filter=f),
    ):
        with pytest.raises(ValueError, match="unsupported operator"):
            ask({"a": {"$regex": "x"}})


# Removing


def test_delete_removes_what_is_there_and_ignores_the_rest(filled, documents):
    assert filled.delete(["id3", "nobody", "id3", "id4"]) == 2
    assert filled.delete(["id3"]) == 0
    assert filled.delete([]) == 0
    assert len(filled) == 48
    assert "id3" not in filled
    assert "id3" not in ids(filled.search(documents(50)["vectors"][3], 50))
    filled.add(documents(50)["vectors"][3:4], ids=["id3"])
    assert ids(filled.search(documents(50)["vectors"][3], 1)) == ["id3"]


def test_delete_by_filter_and_by_both(filled):
    assert filled.delete(["id2", "id3", "id7"], filter={"word": "cat"}) == 2
    assert filled.delete(filter={"word": "cat"}) == 8
    assert filled.delete(filter=lambda m: m["n"] < 4) == 3
    assert filled.delete(filter={}) == 37
    assert len(filled) == 0


def test_delete_without_a_word_about_what_is_an_error(filled):
    with pytest.raises(ValueError, match="clear"):
        filled.delete()
    assert len(filled) == 50


def test_metadata_change_and_nothing_else_does(filled, documents):
    before = filled.get()
    assert filled.update_metadata(["id2", "nobody", "id0"], {"word": "new", "more": [1]}) == 2
    after = filled.get()
    assert [record.id for record in after] == [record.id for record in before]
    assert after[0].metadata == {**before[0].metadata, "word": "new", "more": [1]}
    assert after[1] == before[1]
    assert after[0].text == before[0].text
    np.testing.assert_array_equal(filled.vectors(["id0"])[0], documents(1)["vectors"][0])
    assert filled.count({"word": "new"}) == 2
    assert [
        hit.id for hit in filled.search(documents(1)["vectors"][0], 1, filter={"more": {"$contains": 1}})
    ] == ["id0"]


def test_metadata_change_by_filter_and_whole(filled):
    many = filled.count({"word": "cat"})
    assert filled.update_metadata(None, {"n": "x"}, filter={"word": "cat"}, replace=True) == many
    assert filled.count({"word": "cat"}) == 0
    assert {str(record.metadata) for record in filled.get(filter={"n": "x"})} == {"{'n': 'x'}"}
    assert filled.update_metadata(["id0"], {"y": 1}, filter={"n": "x"}) == 0
    assert filled.update_metadata([], {"y": 1}) == 0
    everything = len(filled)
    assert filled.update_metadata(None, {"z": 1}, filter={}) == everything == filled.count({"z": 1})


@pytest.mark.parametrize(
    ("ids", "patch", "options", "error"),
    [
        (None, {"a": 1}, {}, ValueError),
        (["id0"], {"a": object()}, {}, TypeError),
        (["id0"], "a", {}, TypeError),
        ("id0", {"a": 1}, {}, TypeError),
        (["id0"], {"a": 1}, {"filter": {"$x": 1}}, ValueError),
    ],
)
def test_metadata_that_cannot_be_stored_change_nothing(filled, ids, patch, options, error):
    before = filled.get()
    with pytest.raises(error):
        filled.update_metadata(ids, patch, **options)
    assert filled.get() == before


def test_changed_metadata_are_durable_and_followed(opened, documents, tmp_path):
    with opened(tmp_path / "c") as writer:
        writer.add(**documents(5))
        reader = opened(tmp_path / "c", read_only=True)
        assert reader.count({"word": "new"}) == 0
        writer.update_metadata(["id1"], {"word": "new"})
        assert reader.count({"word": "new"}) == 1
        with pytest.raises(PermissionError):
            reader.update_metadata(["id1"], {"word": "x"})
    assert [record.id for record in opened(tmp_path / "c").get(filter={"word": "new"})] == ["id1"]


@pytest.mark.parametrize("filter", [None, {"n": {"$lt": 3}}, lambda m: m["n"] < 3])
def test_a_search_may_be_among_some_ids(filled, documents, filter):
    (query,) = documents(1)["vectors"]
    names = ["id7", "id1", "nobody", "id2", "id1"]
    wanted = {"id1", "id2"} if filter else {"id1", "id2", "id7"}
    assert {hit.id for hit in filled.search(query, 10, ids=names, filter=filter)} == wanted
    assert {hit.id for hit in filled.search_batch([query], 10, ids=names, filter=filter)[0]} == wanted
    assert {hit.id for hit in filled.mmr(query, 10, ids=names, filter=filter)} == wanted
    assert filled.search(query, ids=[], filter=filter) == []


def test_clear_removes_all_and_keeps_what_the_collection_is(filled, documents):
    filled.clear()
    assert (len(filled), filled.dim, filled.metric, list(filled)) == (0, 8, "l2", [])
    assert filled.search(np.ones(8), 3) == filled.get() == []
    filled.clear()
    filled.add(**documents(50))
    assert ids(filled.search(documents(50)["vectors"][3], 1)) == ["id3"]


# Searching


def by_definition(vectors, query, metric):
    rows, query = np.asarray(vectors, np.float32).astype(float), np.asarray(query, np.float32).astype(float)
    if metric == "l2":
        return ((rows - query) ** 2).sum(axis=1)
    if metric == "ip":
        return rows @ query
    return rows @ query / (np.linalg.norm(rows, axis=1) * np.linalg.norm(query))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("index", ["auto", "LVQ8", "LVQ4x4", "HNSW16,LVQ8", "QuIVer16"])
def test_search_is_exact_and_gives_the_metrics_own_value(opened, place, documents, metric, index):
    collection = opened(place, metric=metric, index=index)
    everything = documents(3000, dim=24)
    collection.add(**everything)
    queries = documents(4, dim=24, seed=5)["vectors"]
    batches = collection.search_batch(queries, 12)
    for query, batch in zip(queries, batches, strict=True):
        truth = by_definition(everything["vectors"], query, metric)
        best = np.argsort(truth if metric == "l2" else -truth, kind="stable")[:12]
        hits = collection.search(query, 12)
        assert hits == batch
        assert ids(hits) == [f"id{row}" for row in best]
        assert all(type(hit.distance) is float for hit in hits)
        np.testing.assert_allclose([hit.distance for hit in hits], truth[best], rtol=1e-9)
        assert [hit.text for hit in hits] == [everything["texts"][row] for row in best]
        assert [hit.metadata for hit in hits] == [everything["metadatas"][row] for row in best]


def test_k_is_bounded_by_what_there_is(filled):
    assert len(filled.search(np.ones(8))) == 10
    assert len(filled.search(np.ones(8), 50)) == len(filled.search(np.ones(8), 10**9)) == 50
    assert filled.search(np.ones(8), 0) == filled.search(np.ones(8), -3) == filled.mmr(np.ones(8), 0) == []
    assert filled.search_batch(np.ones((2, 8)), 0) == [[], []]
    assert filled.search_batch(np.empty((0, 8))) == filled.search_batch([]) == []
    assert len(filled.search(np.ones(8), np.int64(3), filter={"word": "cat"})) == 3


def test_ties_are_in_order_of_insertion(opened, place):
    for index in ("Flat", "LVQ8"):
        collection = opened(place if index == "Flat" else ":memory:", metric="l2", index=index)
        collection.add(np.ones((60, 5)), ids=[f"id{i}" for i in range(60)])
        assert ids(collection.search(np.zeros(5), 7)) == [f"id{i}" for i in range(7)]
        collection.upsert(np.ones((1, 5)), ids=["id0"])
        assert ids(collection.search(np.zeros(5), 2)) == ["id1", "id2"]


def test_vectors_of_every_kind_are_searched_with(filled, documents):
    query = documents(50)["vectors"][5]
    for form in (query, query.tolist(), tuple(query), query.astype(float), query[None], query[::-1][::-1]):
        assert ids(filled.search(form, 1)) == ["id5"]
    assert ids(filled.search([1, 0, 0, 0, 0, 0, 0, 0], 1)) == ids(filled.search(np.eye(8)[0], 1))


def test_the_zero_vector_has_cosine_zero(opened, place):
    collection = opened(place)
    collection.add([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], ids=["zero", "same", "opposite"])
    assert [(hit.id, hit.distance) for hit in collection.search([2, 0], 3)] == [
        ("same", 1.0),
        ("zero", 0.0),
        ("opposite", -1.0),
    ]
    assert ids(collection.search([0, 0], 3)) == ["zero", "same", "opposite"]


@pytest.mark.parametrize("n", [50, 3000])
@pytest.mark.parametrize("index", ["Flat", "LVQ8", "HNSW16,LVQ8"])
def test_filters_are_part_of_the_search(opened, documents, n, index):
    collection = opened(metric="l2", index=index)
    everything = documents(n, dim=16)
    collection.add(**everything)
    query = documents(1, dim=16, seed=3)["vectors"][0]
    distances = by_definition(everything["vectors"], query, "l2")
    for filter, matching in (
        ({"word": "cat"}, [i for i in range(n) if i % 5 == 2]),
        ({"word": {"$ne": "cat"}}, [i for i in range(n) if i % 5 != 2]),
        ({"n": {"$lt": 7}}, list(range(7))),
        ({"n": 10**6}, []),
        ({}, list(range(n))),
        (
            {"half": {"$gte": n / 8}, "word": ["ant", "bee"]},
            [i for i in range(n) if i >= n / 4 and i % 5 < 2],
        ),
    ):
        wanted = [f"id{i}" for i in sorted(matching, key=lambda i: (distances[i], i))[:20]]
        assert ids(collection.search(query, 20, filter=filter)) == wanted
        tree = filters.parse(filter)
        for function in (
            lambda m, t=tree: filters.matches(t, m),
            lambda d, t=tree: filters.matches(t, d.metadata),
        ):
            assert ids(collection.search(query, 20, filter=function)) == wanted
        assert collection.search_batch([query, query], 20, filter=filter)[1] == collection.search(
            query, 20, filter=filter
        )


def test_functions_are_asked_about_the_nearest_only(opened, documents):
    collection = opened(metric="l2")
    everything = documents(2000)
    collection.add(**everything)
    asked = []
    collection.search(everything["vectors"][0], 5, filter=lambda d: asked.append(d.id) or d["n"] % 2 == 0)
    assert len(asked) < 40


def test_a_function_sees_a_document_with_text(filled):
    found = filled.search(
        np.ones(8), 50, filter=lambda d: "cat" in d.page_content and d.text and d.id != "id2"
    )
    assert sorted(ids(found)) == sorted(f"id{i}" for i in range(7, 50, 5))


def test_efforts_reach_the_index_and_unknown_ones_do_not(opened, documents):
    everything = documents(300, dim=16)
    auto, exact, codes = opened(), opened(index="Flat"), opened(index="LVQ4x8")
    for collection in (auto, exact, codes):
        collection.add(**everything)
    query = everything["vectors"][0]
    assert (
        ids(codes.search(query, 3, rerank=200))
        == ids(auto.search(query, 3, rerank=200))
        == ids(exact.search(query, 3))
    )
    with pytest.raises(ValueError, match="rerank"):
        codes.search(query, 3, rerank=-1)
    assert ids(auto.search(query, 3, ef=200)) == ids(exact.search(query, 3))
    for collection, known in ((auto, "ef, rerank"), (codes, "rerank")):
        with pytest.raises(TypeError, match=f"no effort efs; it knows {known}$"):
            collection.search(query, 3, efs=5)
    with pytest.raises(TypeError, match="it has none"):
        exact.search(query, 3, rerank=5)


# What it says of itself


def test_stats_and_repr_say_what_is_there(filled):
    filled.delete(["id1"])
    stats = filled.stats()
    assert (stats["documents"], stats["removed"], stats["dim"], stats["index"]) == (49, 1, 8, "Flat")
    assert stats["vector_bytes"] == 50 * 8 * 4
    assert stats["index_bytes"] >= stats["index_bytes_hot"] >= 49 * 8 * 4
    assert (stats["disk_bytes"] is None) == (filled.path == ":memory:")
    assert stats["disk_bytes"] is None or stats["disk_bytes"] > stats["vector_bytes"]
    assert "49 documents, Flat, l2" in repr(filled)


def test_an_empty_collection_answers_everything(opened, place):
    collection = opened(place)
    assert (
        collection.search([1.0, 2.0]) == collection.mmr([1.0]) == collection.get() == list(collection) == []
    )
    assert collection.search_batch([[1.0], [2.0]]) == [[], []]
    assert collection.delete(["x"]) == collection.delete(filter={"a": 1}) == collection.count({"a": 1}) == 0
    assert collection.get(["x"], filter={"a": 1}) == []
    assert collection.vectors([]).shape[0] == 0
    assert collection.stats()["documents"] == 0
    collection.clear()
    collection.snapshot()


# Everything together


names = st.sampled_from([f"id{i}" for i in range(8)])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), st.lists(st.tuples(names, st.integers(-4, 4)), max_size=5)),
        st.tuples(st.just("delete"), st.lists(names, max_size=3)),
        st.tuples(st.just("filter"), st.integers(-4, 4)),
        st.tuples(st.just("clear"), st.none()),
        st.tuples(st.just("reopen"), st.none()),
        st.tuples(st.just("snapshot"), st.none()),
    ),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps, st.sampled_from(["Flat", "LVQ8", "HNSW4,LVQ8", "QuIVer4"]))
def test_any_sequence_of_changes_leaves_what_a_dict_would_hold(tmp_path_factory, steps, index):
    place = tmp_path_factory.mktemp("c") / "c"
    collection = Collection.open(place, dim=2, metric="l2", index=index)
    model: dict[str, int] = {}
    for step, what in steps:
        if step == "upsert":
            collection.upsert(
                [[value, 1] for _, value in what],
                ids=[name for name, _ in what],
                metadatas=[{"v": value} for _, value in what],
            )
            for name, value in what:  # of equal ones the last, at its place
                model.pop(name, None)
                model[name] = value
        elif step == "delete":
            assert collection.delete(what) == len({name for name in what if name in model})
            model = {name: value for name, value in model.items() if name not in what}
        elif step == "filter":
            collection.delete(filter={"v": {"$gt": what}})
            model = {name: value for name, value in model.items() if value <= what}
        elif step == "clear":
            collection.clear()
            model = {}
        elif step == "snapshot":
            collection.snapshot()
        else:
            collection.close()
            collection = Collection.open(place)
        assert [(record.id, record.metadata["v"]) for record in collection] == list(model.items())
        wanted = sorted(model, key=lambda name: (abs(model[name] - 1), list(model).index(name)))
        assert ids(collection.search([1, 1], 20)) == wanted
    collection.close()


def test_a_dropped_collection_leaves_no_file(opened, tmp_path, documents):
    collection = opened(tmp_path / "c", full_text=True)
    collection.add(**documents(50))
    collection.snapshot()
    reader = opened(tmp_path / "c", read_only=True)
    with pytest.raises(PermissionError):
        reader.drop()
    reader.close()
    collection.drop()
    assert not (tmp_path / "c").exists()
    with pytest.raises(RuntimeError, match="closed"):
        len(collection)
    again = opened(tmp_path / "c", metric="l2")
    assert len(again) == 0
    memory = opened()
    memory.add(**documents(5))
    memory.drop()
    with pytest.raises(RuntimeError, match="closed"):
        len(memory)
