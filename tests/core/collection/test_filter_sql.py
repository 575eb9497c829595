"""The SQL of a filter says exactly what `matches` says."""

import sqlite3

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from inlay.collection import filter_sql, filters
from inlay.collection.metadata import decode, encode
from tests.core.collection import values
from tests.core.collection.test_filters import CASES, DOCUMENT

EXAMPLES = max(100, settings.default.max_examples)  # cheap, and there is much to get wrong

filter_keys = st.sampled_from(
    ["a", "b", "a.b", "b.a", "é", 'q"', "b\\", "a.$date", "a..b", "n\0", "a b", "[0]", "x'y", "*?[", ""]
)
numbers = st.one_of(st.integers(-3, 3), st.floats(-3, 3), st.sampled_from([0.3, 0.1 + 0.2, -0.0, 2.0]))
operands = st.one_of(values.scalars, numbers, values.values)
compared = st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$contains", "$not_contains"])
conditions = st.one_of(
    st.tuples(compared, operands),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(operands, max_size=4)),
    st.tuples(st.just("$between"), st.lists(operands, min_size=2, max_size=2)),
    st.tuples(st.just("$exists"), st.booleans()),
    st.tuples(
        st.sampled_from(["$text_match", "$text_match_insensitive"]),
        st.one_of(values.unicode_text, st.sampled_from(["a", "AB", "é", "K", "k", "*"])),
    ),
)
leaves = st.dictionaries(filter_keys, st.lists(conditions, min_size=1, max_size=2).map(dict), max_size=2)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: {"$and": parts}),
        st.lists(inner, max_size=3).map(lambda parts: {"$or": parts}),
        inner.map(lambda part: {"$not": part}),
    ),
    max_leaves=4,
)
held = st.one_of(values.values, numbers, values.scalars)
documents = st.lists(st.dictionaries(st.one_of(filter_keys, values.keys), held, max_size=4), max_size=5)


def by_sql(documents, filter):
    """Return which documents SQLite selects, and how many it had to ask Python about."""
    tree = filters.parse(filter)
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE doc (row INTEGER PRIMARY KEY, meta TEXT)")
    database.executemany("INSERT INTO doc VALUES (?, ?)", enumerate(map(encode, documents)))
    asked = []

    def matches(text):
        asked.append(text)
        return filters.matches(tree, decode(text))

    database.create_function("matches", 1, matches)
    condition, parameters = filter_sql.where(tree)
    rows = database.execute(f"SELECT row FROM doc WHERE {condition} ORDER BY row", parameters).fetchall()
    assert database.execute("SELECT count(*) FROM doc").fetchone() == (len(documents),)
    database.close()
    return [row for (row,) in rows], len(asked)


def by_definition(documents, filter):
    tree = filters.parse(filter)
    return [row for row, doc in enumerate(documents) if filters.matches(tree, decode(encode(doc)))]


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(documents, trees)
@example([{"a": 0.1 + 0.2}, {"a": 0.3}], {"a": {"$gt": 0.3}})
@example([{"a": 10**16}, {"a": 1e16}, {"a": 17.0}], {"a": 10**16})
@example([{"a": -0.0}, {"a": 0}, {"a": False}], {"a": 0})
@example([{"a": 2**64}, {"a": 2.0**64}], {"a": 2.0**64})
@example([{"a": "x\0y"}, {"a": "x"}], {"a": {"$gte": "x"}})
@example([{"a": "*"}, {"a": "b"}, {"a": ["*"]}], {"a": {"$contains": "*"}})
@example([{"a": "xAb"}, {"a": "b\0AB"}, {"a": ["ab"]}, {"a": 5}], {"a": {"$text_match_insensitive": "aB"}})
@example([{"a": "K"}, {"a": "İé"}, {"a": "É"}], {"a": {"$text_match_insensitive": "k"}})
def test_sql_selects_what_the_reference_matches(documents, filter):
    assert by_sql(documents, filter)[0] == by_definition(documents, filter)


@settings(max_examples=EXAMPLES)
@given(st.lists(st.floats(), max_size=8), st.floats(), st.sampled_from(["$eq", "$gt", "$gte", "$lt", "$lte"]))
def test_floats_are_compared_to_the_last_bit(stored, operand, name):
    documents = [{"a": value} for value in (*stored, operand)]
    assert by_sql(documents, {"a": {name: operand}})[0] == by_definition(documents, {"a": {name: operand}})


@pytest.mark.parametrize("filter", [filter for filter, _ in CASES])
def test_every_operator_means_the_same_in_sql(filter):
    documents = [DOCUMENT, {}, {"topic": "art"}]
    assert by_sql(documents, filter)[0] == by_definition(documents, filter)


@pytest.mark.parametrize(
    "text", ["'; DROP TABLE doc; --", '" OR 1=1 --', "a$.b", "a'b", "%", "_", "*", "?", "[a]", "]"]
)
def test_keys_and_values_that_look_like_code_are_only_text(text):
    documents = [{"a": text}, {"a": "other"}, {text: 1}, {"a": [text]}]
    for filter in (
        {"a": text},
        {text: 1},
        {"a": {"$contains": text}},
        {"a": [text, "x"]},
        {"a": {"$gte": text}},
    ):
        assert by_sql(documents, filter)[0] == by_definition(documents, filter)
    assert by_sql(documents, {"a": text})[0] == [0]
    assert by_sql(documents, {text: 1})[0] == [2]


def test_common_filters_are_answered_by_sqlite_alone():
    documents = [
        {"topic": "physics", "page": 3, "when": DOCUMENT["utc"], "tags": ["x"], "n": {"k": 0.25}}
    ] * 5
    for filter in (
        {"topic": "physics", "page": {"$gte": 2, "$lt": 7}},
        {"$or": [{"topic": ["art", "physics"]}, {"page": {"$ne": 3}}]},
        {"$not": {"tags": {"$contains": "y"}}},
        {"when": {"$lte": DOCUMENT["utc"]}},
        {"n.k": {"$gt": 0.2}},
        {"missing": {"$exists": False}},
    ):
        assert by_sql(documents, filter) == ([0, 1, 2, 3, 4], 0)


def test_python_is_asked_only_where_sqlite_cannot_tell():
    documents = [{"topic": "art", 'k"': 1}] * 5 + [{"topic": "physics", 'k"': 1}]
    assert by_sql(documents, {"topic": "physics", 'k"': 1}) == ([5], 1)
    assert by_sql([{"a": 0.1}, {"a": 0.3}, {"a": 0.5}], {"a": {"$gt": 0.3}}) == ([2], 1)


@pytest.mark.parametrize(("depth", "width"), [(3, 50), (8, 50), (9, 3), (60, 2), (5, 60), (1, 5000)])
def test_filters_larger_than_sqlite_can_parse_work_too(depth, width):
    filter: dict = {"a.b": {"$gte": 0.5}}
    for level in range(depth):
        filter = {
            "$and" if level % 2 else "$or": [{"a.b": {"$nin": [1.5, "x", 2, None]}}] * (width - 1) + [filter]
        }
        if level % 3 == 0:
            filter = {"$not": filter}
    documents = [{"a": 1}, {"a": {"b": 2}}, {"a.b": 3.0}]
    assert by_sql(documents, filter)[0] == by_definition(documents, filter)


def test_lists_longer_than_sqlite_has_parameters_work():
    numbers = list(range(100_000))
    assert by_sql([{"a": 5}, {"a": -5}, {"a": 99.0}], {"a": numbers})[0] == [0, 2]
    assert by_sql([{"a": "5"}, {"a": "x"}], {"a": [str(number) for number in numbers]})[0] == [0]
    assert by_sql([{"a": "x" * 100_000}, {"a": "x"}], {"a": "x" * 100_000})[0] == [0]
