"""Columns select exactly what `matches` says, as documents come, change and go."""

from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from inlay import Collection, FormatError
from inlay.collection import columns, filters
from inlay.collection.columns import Columns
from inlay.collection.database import Database, provide
from inlay.collection.metadata import decode, encode
from inlay.collection.records import State
from inlay.collection.vectors import Slots
from tests.core.collection import test_filter_sql as forms
from tests.core.collection.test_filters import CASES, DOCUMENT

FIRST = State("default", "l2", "auto", 3)
SLOTS = Slots(np.empty(0, np.int64), 0)


class Documents:
    """Metadata in a database, their columns, and the same in a dict."""

    def __init__(self, budget=columns.BUDGET):
        self.database = Database(FIRST)
        self.writer = self.database.writer
        self.columns = Columns(budget)
        self.model = {}

    def add(self, metadatas):
        state = self.writer.state()
        first = state.next_row
        names = [f"n{first + i}" for i in range(len(metadatas))]
        self.writer.insert(first, names, names, [encode(held) for held in metadatas])
        self.put(next_row=first + len(names))
        self.model |= {first + i: decode(encode(held)) for i, held in enumerate(metadatas)}

    def remove(self, rows):
        rows = [row for row in rows if row in self.model]
        removed = self.writer.state().removed
        self.writer.remove(np.array(rows, np.int64), removed)
        self.put(removed=removed + len(rows))
        for row in rows:
            del self.model[row]

    def change(self, row, held):
        provide(self.writer, "patched")
        self.writer.set_metas(np.array([row]), [encode(held)], self.writer.state().patches)
        self.model[row] = decode(encode(held))

    def put(self, **numbers):
        state = self.writer.state()
        for name, number in numbers.items():
            object.__setattr__(state, name, number)
        self.writer.put(state)

    def check(self, filter):
        tree = filters.parse(filter)
        found = self.columns.matching(tree, self.writer, self.writer.state(), SLOTS)
        assert found.tolist() == [row for row, held in self.model.items() if filters.matches(tree, held)]


@pytest.fixture
def documents():
    made = Documents()
    yield made
    made.database.close()


steps = st.lists(st.tuples(forms.documents, st.lists(st.integers(0, 9)), st.booleans()), max_size=3)


@settings(max_examples=max(60, settings.default.max_examples), suppress_health_check=[HealthCheck.too_slow])
@given(steps, forms.documents, st.lists(forms.trees, min_size=1, max_size=2), st.sampled_from([0, 2, 256]))
@example([], [{"a": 0.1 + 0.2}, {"a": 0.3}], [{"a": {"$gt": 0.3}}], 0)
@example([], [{"a": 2**64}, {"a": 2.0**64}, {"a": Decimal(2**64)}], [{"a": 2.0**64}], 0)
@example([], [{"a": 1}, {"a": 1.0}, {"a": True}, {"a": Decimal("1.00")}], [{"a": 1}, {"a": True}], 0)
@example([], [{"a.b": None, "a": {"b": 1}}, {"a": {"b": 1}}], [{"a.b": 1}, {"a.b": None}], 0)
@example([], [{"a": float("nan")}, {"a": Decimal("sNaN")}, {"a": 2}], [{"a": {"$lte": 2}}], 0)
def test_columns_select_what_the_reference_matches(steps, last, trees, loose):
    columns._LOOSE, before = loose, columns._LOOSE
    made = Documents()
    try:
        for added, removed, changes in (*steps, (last, [], False)):
            made.add(added)
            made.remove(dict.fromkeys(removed))
            if changes and made.model:
                made.change(next(iter(made.model)), {"a": "changed", "b": [1]})
            for tree in trees:
                made.check(tree)
    finally:
        columns._LOOSE = before
        made.database.close()


@pytest.mark.parametrize("filter", [filter for filter, _ in CASES])
def test_every_operator_means_the_same(documents, filter):
    documents.add([DOCUMENT, {}, {"topic": "art"}])
    documents.check(filter)


VALUES = [
    *(f"s{i}" for i in range(20)),
    *range(20),
    *(i / 7 for i in range(20)),
    *(date(2024, 1, 1 + i) for i in range(20)),
    *(datetime(2024, 1, 1 + i, tzinfo=UTC) for i in range(20)),
    *([i] for i in range(20)),
    *(None, True, False, b"x", {"k": 1}, float("nan")),
]


@pytest.mark.parametrize("loose", [0, 7, 10**6])
def test_values_are_found_sorted_and_loose(documents, monkeypatch, loose):
    monkeypatch.setattr(columns, "_LOOSE", loose)
    order = np.random.default_rng(1).permutation(len(VALUES))
    for part in np.array_split(order, 5):
        documents.add([{"v": VALUES[i]} for i in part])
        for value in VALUES[::3]:
            documents.check({"v": {"$eq": value}})
            for sign in ("$lt", "$lte", "$gt", "$gte"):
                documents.check({"v": {sign: value}})
    documents.check({"v": {"$in": VALUES}})
    documents.check({"v": {"$nin": VALUES[::2]}})
    documents.check({"v": {"$text_match": "1"}})


def test_codes_grow_with_the_number_of_values(documents):
    for first in (0, 200, 70_000):
        documents.add([{"n": first + i} for i in range(200)])
        documents.check({"n": first + 199})
        documents.check({"n": {"$gte": 150}})
    documents.add([{"n": i} for i in range(600, 66_500)])
    documents.check({"n": 66_499})
    documents.check({"n": {"$lt": 600}})


def test_only_what_is_new_is_read(documents, monkeypatch):
    documents.add([{"a": i % 3} for i in range(50)])
    documents.check({"a": 1})
    read = []
    values = documents.writer.values
    monkeypatch.setattr(
        documents.writer, "values", lambda key, row: read.append((key, row)) or values(key, row)
    )
    documents.check({"a": 2})
    documents.remove([3])
    documents.check({"a": 0})
    assert read == []
    documents.add([{"a": 1}])
    documents.check({"a": 1})
    documents.check({"b": 1})
    assert read == [("a", 50), ("b", 0)]


def test_memory_is_bounded_and_what_does_not_fit_is_left_to_sql():
    made = Documents(budget=40_000)
    made.add(
        [{"small": i % 5, "other": i % 7, "third": f"{i % 90:050}", "large": f"{i:0500}"} for i in range(300)]
    )
    for _ in range(2):
        for key, value in (("small", 3), ("other", 6), ("third", f"{7:050}"), ("large", f"{5:0500}")):
            made.check({key: value})
            assert made.columns.stats()["filter_bytes"] <= 40_000
    assert "large" not in made.columns.stats()["filter_keys"]
    made.check({"$or": [{"large": {"$lt": f"{9:0500}"}}, {"small": 2}], "other": {"$ne": 3}})
    made.database.close()


def test_columns_not_asked_for_go_first():
    made = Documents(budget=2_500)
    made.add([{key: f"{i:020}" for key in "abcd"} for i in range(8)])
    for key in "abacd":
        made.check({key: f"{1:020}"})
    kept = made.columns.stats()["filter_keys"]
    assert kept == ["a", "c", "d"]
    made.database.close()


def test_damaged_metadata_are_a_format_error(documents):
    documents.add([{"a": 1}])
    for broken in (
        "UPDATE doc SET meta = '{'",
        "UPDATE doc SET meta = x'ff'",
        'UPDATE doc SET meta = \'{"a":{"$x":1}}\'',
    ):
        documents.writer.ask(broken)
        documents.columns = Columns()
        with pytest.raises(FormatError):
            documents.check({"a": 1})


@pytest.mark.parametrize("row", [7, 2**40])
def test_a_row_that_never_was_is_a_format_error(documents, row):
    documents.add([{"a": 1}, {"a": 2}])
    documents.writer.ask("UPDATE doc SET row = ? WHERE row = 1", [row])
    with pytest.raises(FormatError, match="never given"):
        documents.check({"a": {"$gte": 1}})


@pytest.mark.one_folder("has a thousand documents to clear away, of which a shard has a part")
def test_a_collection_counts_its_columns_and_makes_them_anew_after_a_compaction(opened, place):
    collection = opened(place, 2)
    collection.upsert(np.eye(2)[[0, 1] * 600], metadatas=[{"n": i} for i in range(1200)], progress=False)
    assert collection.count({"n": {"$gte": 1000}}) == 200
    assert collection.update_metadata(None, {"n": 7}, filter={"n": 1199}) == 1
    assert collection.count({"n": {"$gte": 1000}}) == 199
    stats = collection.stats()
    assert stats["filter_keys"] == ["n"]
    assert stats["filter_bytes"] > 1200
    assert collection.delete(filter={"n": {"$lt": 1100}}) == 1101
    assert collection.stats()["generation"] == 1
    assert collection.count({"n": {"$gte": 1000}}) == 99
    assert collection.count({"n": {"$ne": 1150}}) == 98
    assert collection.update_metadata(None, {"n": 7}, filter={"n": 1150}) == 1
    assert collection.count({"n": {"$gte": 1000}}) == 98


def test_readers_of_another_process_see_metadata_change(opened, tmp_path):
    writer = opened(tmp_path, 2)
    writer.add(np.eye(2), ids=["a", "b"], metadatas=[{"n": 1}, {"n": 2}])
    reader = opened(tmp_path, read_only=True)
    assert [hit.id for hit in reader.search([1, 0], filter={"n": 2})] == ["b"]
    writer.update_metadata(["a"], {"n": 2})
    assert [hit.id for hit in reader.search([1, 0], filter={"n": 2})] == ["a", "b"]
    writer.update_metadata(["b"], {"n": 5})
    writer.delete(["a"])
    assert reader.count({"n": 2}) == 0
    assert reader.count({"n": 5}) == reader.count({"n": {"$gt": 1}}) == 1
    again = opened(tmp_path, read_only=True)
    assert again.get(filter={"n": 5}) == writer.get(["b"])


@pytest.mark.one_folder("looks into the database")
def test_only_metadata_that_change_need_the_newer_format(opened, tmp_path):
    with Collection.open(tmp_path, 2) as collection:
        collection.add(np.eye(2), ids=["a", "b"])
        version = lambda: Database(tmp_path / "inlay.sqlite", read_only=True)  # noqa: E731
        for wanted, change in (
            (1, lambda: None),
            (3, lambda: collection.update_metadata(["a"], {"n": 1})),
            (3, lambda: collection.update_metadata(["a"], {"n": 2})),
        ):
            change()
            with version().borrow() as reader:
                assert reader.ask("PRAGMA user_version") == [(wanted,)]
    opened(tmp_path, full_text=True)
    with version().borrow() as reader:
        assert reader.ask("PRAGMA user_version") == [(4,)]
