import math
import os
import re
import sqlite3
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inlay import FormatError
from inlay.collection import Collection, full_text
from inlay.collection.database import DATABASE

TEXTS = {
    "a": "green tea in a blue cup",
    "b": "black coffee, no sugar",
    "c": "tea and coffee and more tea",
    "d": "fast-food: a burger with coffee",
    "e": "Crème brûlée AND a spoon",
}


def fill(collection, texts=TEXTS):
    vectors = np.eye(len(texts), 5, dtype=np.float32) + 0.1
    metadatas = [{"n": n} for n in range(len(texts))]
    collection.upsert(vectors, ids=list(texts), texts=list(texts.values()), metadatas=metadatas)
    return collection


@pytest.fixture
def shop(opened, place):
    return fill(opened(place, full_text=True))


def found(hits):
    return [hit.id for hit in hits]


def bm25(texts, query):
    """Score texts of ASCII words by the definition that FTS5 follows: Robertson's, with idf kept above 0."""
    words = {name: re.findall("[a-z0-9]+", text.lower()) for name, text in texts.items()}
    mean = sum(map(len, words.values())) / max(len(words), 1)
    scores = Counter()
    for word in dict.fromkeys(query.split()):
        has = [name for name in words if word.lower() in words[name]]
        idf = math.log((len(words) - len(has) + 0.5) / (len(has) + 0.5))
        for name in has:
            often = words[name].count(word.lower())
            length = 1 - 0.75 + 0.75 * len(words[name]) / mean
            scores[name] += max(idf, 1e-6) * often * 2.2 / (often + 1.2 * length)
    return dict(scores)


def test_documents_with_any_of_the_words_are_found_the_best_first(shop):
    hits = shop.search_text("tea sugar")
    assert found(hits) == ["b", "c", "a"]
    assert [hit.distance for hit in hits] == sorted((hit.distance for hit in hits), reverse=True)
    assert hits[0].text == TEXTS["b"]
    assert hits[0].metadata == {"n": 1}
    assert found(shop.search_text("tea sugar", 1)) == ["b"]
    assert shop.search_text("nothing of that") == []
    assert shop.search_text("tea", 0) == shop.search_text("tea", -1) == []


def test_words_are_found_without_regard_to_case_and_accents(shop):
    assert found(shop.search_text("TEA")) == ["c", "a"]
    assert found(shop.search_text("creme BRULEE")) == ["e"]
    assert found(shop.search_text("fast-food")) == ["d"]
    assert shop.search_text("food-fast") == []


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " \n\t ",
            "?",
            '"',
            '""',
            "'",
            "*",
            "tea*",
            "NEAR(tea coffee)",
            "text:tea",
            "^tea",
            "tea)",
            "-tea",
        ),
        *("'; DROP TABLE doc; --", "words", "AND", "NOT", "OR OR", "{text}: x", "a" * 10_000, "tea + coffee"),
        "\0",
    ],
)
def test_a_users_words_are_never_syntax(shop, text):
    hits = shop.search_text(text)
    assert len(shop) == 5
    assert set(found(hits)) <= set(TEXTS)
    if text in ("AND", "NOT"):
        assert found(hits) == (["c", "e"] if text == "AND" else [])


@given(query=st.text(st.characters(exclude_categories=["Cs"]), max_size=20), text=st.text(max_size=10))
def test_any_text_can_be_stored_and_asked(query, text):
    text = text.encode(errors="replace").decode()
    with Collection.open(full_text=True) as collection:
        collection.add([[1.0]], ids=["x"], texts=[text])
        assert found(collection.search_text(query)) in ([], ["x"])
        assert found(collection.search_text(f"plain {query}")) in ([], ["x"])
        collection.delete(["x"])
        assert collection.search_text(text) == []


def test_what_is_no_text_is_an_error(shop):
    with pytest.raises(TypeError, match="text is a int"):
        shop.search_text(5)
    with pytest.raises(ValueError, match="lone surrogate"):
        shop.search_text("\ud800")


def test_words_that_most_texts_have_count_where_nothing_else_does(opened, place):
    collection = opened(place, full_text=True)
    names = [f"n{i}" for i in range(30)]
    collection.add(
        np.ones((30, 2)), ids=names, texts=["the rare word" if i == 20 else "the text" for i in range(30)]
    )
    assert found(collection.search_text("the rare", 1)) == ["n20"]
    assert found(collection.search_text("the rare", 3)) == ["n20", "n0", "n1"]
    assert found(collection.search_text("the", 30)) == [*names[:20], *names[21:], "n20"]


def test_long_questions_are_answered(shop):
    question = " ".join(f"word{i}" for i in range(5000)) + " sugar"
    assert found(shop.search_text(question)) == ["b"]


@pytest.mark.parametrize("filter", [{"n": {"$gte": 2}}, lambda m: m["n"] >= 2])
def test_filters_and_ids_are_part_of_the_search(shop, filter):
    assert found(shop.search_text("tea coffee sugar", 2, filter=filter)) == ["c", "d"]
    assert found(shop.search_text("coffee", ids=["d", "b", "nobody"], filter=filter)) == ["d"]
    assert found(shop.search_text("coffee", ids=["d", "b", "nobody"])) == ["b", "d"]
    assert shop.search_text("coffee", ids=[]) == []


def test_ties_are_in_order_of_insertion_whatever_the_filter(opened, place):
    collection = opened(place, full_text=True)
    names = [f"n{i}" for i in range(300)]
    collection.add(np.ones((300, 2)), ids=names, texts=["same words"] * 300)
    assert found(collection.search_text("same", 300)) == names
    assert (
        found(collection.search_text("same", 5, filter=lambda d: int(d.id[1:]) % 50 == 49))
        == names[49::50][:5]
    )


words = st.lists(st.sampled_from(["ant", "bee", "cat", "dog"]), max_size=6).map(" ".join)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), st.dictionaries(st.sampled_from("abcdefgh"), words, min_size=1)),
        st.tuples(st.just("delete"), st.lists(st.sampled_from("abcdefgh"))),
        st.tuples(st.sampled_from(["clear", "reopen", "migrate"]), st.none()),
    ),
    max_size=8,
)


@settings(max_examples=12, deadline=None)
@given(steps=steps)
def test_any_sequence_of_changes_leaves_the_words_of_the_texts(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("words") / "c"
    texts, options = {}, {}
    collection = Collection.open(folder)
    for step, what in steps:
        if step == "upsert":
            collection.upsert(np.ones((len(what), 2)), ids=list(what), texts=list(what.values()))
            texts |= what
        elif step == "delete":
            collection.delete(what)
            texts = {name: text for name, text in texts.items() if name not in what}
        elif step == "clear":
            collection.clear()
            texts = {}
        else:
            collection.close()
            options = {"full_text": True} if step == "migrate" else {}
            collection = Collection.open(folder, **options)
    collection.close()
    Collection.open(folder, full_text=True).close()
    database = sqlite3.connect(folder / DATABASE)
    database.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")  # against the texts
    database.close()
    with Collection.open(folder) as collection:
        for query in ("ant", "bee dog", "ant bee cat dog"):
            hits = {hit.id: hit.distance for hit in collection.search_text(query, 100)}
            assert hits == pytest.approx(bm25(texts, query), abs=1e-4)  # words of most texts may be left out
        if texts:
            assert sorted(found(collection.hybrid([1, 1], "ant", 100))) == sorted(texts)


def test_compactions_keep_the_words(monkeypatch, opened, place):
    monkeypatch.setattr("inlay.collection.upkeep._WASTE_ROWS", 2)
    collection = fill(opened(place, full_text=True))
    collection.delete(["a", "b"])
    assert collection.stats()["generation"] == 1
    assert found(collection.search_text("tea coffee")) == ["c", "d"]


# Collections made before


def test_a_collection_made_without_gets_it_and_keeps_it(opened, tmp_path):
    fill(opened(tmp_path / "c")).close()
    before = opened(tmp_path / "c")
    assert not before.full_text
    assert not before.stats()["full_text"]
    for ask in (before.search_text, lambda text: before.hybrid(np.ones(5), text)):
        with pytest.raises(ValueError, match="full_text=True"):
            ask("tea")
    before.close()
    with pytest.raises(ValueError, match="without read_only=True"):
        opened(tmp_path / "c", full_text=True, read_only=True)
    opened(tmp_path / "c", full_text=True).close()
    after = opened(tmp_path / "c")
    assert after.full_text
    assert found(after.search_text("tea")) == ["c", "a"]
    after.upsert(np.ones((1, 5)), ids=["a"], texts=["water"])
    assert found(after.search_text("tea water")) == ["a", "c"]
    reader = opened(tmp_path / "c", full_text=True, read_only=True)
    assert found(reader.search_text("water")) == ["a"]


def test_the_format_changes_with_the_first_words_only(opened, tmp_path):
    def version():
        database = sqlite3.connect(tmp_path / "c" / DATABASE)
        ((found,),) = database.execute("PRAGMA user_version")
        database.close()
        return found

    fill(opened(tmp_path / "c")).close()
    assert version() == 1
    opened(tmp_path / "c", full_text=True).close()
    assert version() == 2


def test_a_reader_follows_words_that_come_later(opened, tmp_path):
    writer = fill(opened(tmp_path / "c"))
    reader = opened(tmp_path / "c", read_only=True)
    assert len(reader) == 5
    writer.close()
    fill(opened(tmp_path / "c", full_text=True), {"z": "tea for two"})
    assert set(found(reader.search_text("tea"))) == {"z", "a", "c"}


def test_a_copy_has_the_words(shop, opened, tmp_path):
    shop.copy_to(tmp_path / "copy")
    copy = opened(tmp_path / "copy", read_only=True)
    assert found(copy.search_text("sugar")) == ["b"]


def test_a_change_that_fails_leaves_the_words(shop):
    with pytest.raises(ValueError, match="dimension"):
        shop.upsert(np.ones((1, 9)), ids=["a"], texts=["water"])
    assert found(shop.search_text("tea water")) == ["c", "a"]


# Damage


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE words",
        "PRAGMA user_version = 1",
        "CREATE TRIGGER t AFTER INSERT ON words_data BEGIN DELETE FROM body; END",
        "CREATE TABLE words_more (x)",
    ],
)
def test_tables_that_are_not_those_of_full_text_are_a_format_error(tmp_path, change):
    fill(Collection.open(tmp_path / "c", full_text=True)).close()
    database = sqlite3.connect(tmp_path / "c" / DATABASE, isolation_level=None)
    database.execute(change)
    database.close()
    with pytest.raises(FormatError):
        Collection.open(tmp_path / "c")


def test_words_of_documents_that_are_not_there_are_a_format_error(tmp_path):
    fill(Collection.open(tmp_path / "c", full_text=True)).close()
    database = sqlite3.connect(tmp_path / "c" / DATABASE, isolation_level=None)
    database.execute("INSERT INTO words (rowid, text) VALUES (77, 'tea')")
    database.execute("UPDATE words_data SET block = x'00ff' WHERE id > 100")
    database.close()
    with Collection.open(tmp_path / "c") as collection, pytest.raises(FormatError):
        collection.search_text("tea")


def test_an_sqlite_without_fts5_is_told(monkeypatch, tmp_path):
    def unable():
        raise RuntimeError("the SQLite of this Python has no FTS5")

    full_text.check_known()
    monkeypatch.setattr(full_text, "check_known", unable)
    with pytest.raises(RuntimeError, match="FTS5"):
        Collection.open(tmp_path / "c", full_text=True)
    Collection.open(tmp_path / "c").close()  # the lock was given back
    assert DATABASE in os.listdir(tmp_path / "c")


# Hybrid


def test_alpha_weighs_the_vector_against_the_words(shop):
    to_b = np.eye(5, dtype=np.float32)[1]
    assert found(shop.hybrid(to_b, "burger", alpha=1)) == found(shop.search(to_b))
    assert found(shop.hybrid(to_b, "tea", alpha=0)) == found(shop.search_text("tea"))
    for fusion, best in (("rank", ["d", "b"]), ("score", ["b", "d"])):
        hits = shop.hybrid(to_b, "burger", 5, alpha=0.6, fusion=fusion)
        assert len(hits) == 5
        assert found(hits)[:2] == best
        assert [hit.distance for hit in hits] == sorted((hit.distance for hit in hits), reverse=True)


@pytest.mark.parametrize("filter", [{"n": {"$lt": 2}}, lambda m: m["n"] < 2])
def test_a_hybrid_search_is_filtered(shop, filter):
    assert found(shop.hybrid(np.ones(5), "coffee", filter=filter)) == ["b", "a"]
    assert found(shop.hybrid(np.ones(5), "coffee", filter=filter, ids=["a", "c"])) == ["a"]


def test_a_hybrid_search_of_nothing_finds_nothing(opened, place):
    collection = opened(place, full_text=True)
    assert collection.hybrid([1.0], "tea") == collection.hybrid([1.0], "tea", alpha=0) == []
    assert collection.search_text("tea") == []
    assert fill(collection).hybrid(np.ones(5), "tea", 0) == []
    assert len(collection.hybrid(np.ones(5), "", 3)) == 3


def test_bad_arguments_are_errors(shop):
    for options, message in (
        ({"alpha": 1.5}, "alpha must be from 0 to 1"),
        ({"fusion": "sum"}, "fusion must be one of rank, score"),
        ({"nonsense": 1}, "nonsense"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            shop.hybrid(np.ones(5), "tea", **options)
    with pytest.raises(ValueError, match="dimension"):
        shop.hybrid(np.ones(3), "tea")
